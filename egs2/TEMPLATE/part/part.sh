#!/usr/bin/env bash
# shellcheck disable=SC2034
# Trains and evaluates a multilingual speech LLM; see --help. Called by a recipe's run.sh, from the
# recipe's directory.
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -euo pipefail

if [ ! -e utils/options.sh ]; then
    echo "part.sh: error: utils/options.sh is missing; run this from a recipe's directory (egs2/CORPUS/part)" >&2
    exit 1
fi
# shellcheck source=utils/options.sh
. utils/options.sh

# General
stage=               # First stage to run; when given, stages that are done are run again.
stop_stage=12        # Last stage to run.
detach=false         # Go on without the terminal, as a job of Slurm or a process here; log: <expdir>/<tag>/run.log.
skip_data_prep=false # Skip stages 1-6.
skip_train=false     # Skip stages 7-9.
skip_eval=false      # Skip stages 10-11.
skip_packing=true    # Skip stage 12.
ngpu=1               # Number of GPUs a node for training (0: CPU).
num_nodes=1          # Number of nodes for training.
num_threads=1        # Number of CPU threads of each training process.
nj=4                 # Number of parallel jobs in data preparation.
inference_nj=4       # Number of parallel jobs in decoding.
gpu_inference=false  # Whether decoding uses GPUs, one a job.
dumpdir=dump         # Directory of formatted data and encoder features.
expdir=exp           # Directory of experiments.
python=python3       # Python of the environment.

# Data
train_set=train          # Name of the training set.
valid_set=valid          # Name of the validation set.
test_sets="test"         # Names of the test sets, separated by spaces.
local_data_opts=         # Options for local/data.sh.
local_base_models_opts=  # Options for local/base_models.sh.
audio_format=flac        # Format of the formatted audio: flac, wav, or copy (leave files where they are).
max_bad_share=0.05       # Largest share of unusable utterances before formatting stops.
min_wav_duration=0.1     # Shorter training utterances are dropped (s).
max_wav_duration=30      # Longer training utterances are dropped (s).
max_text_chars=1000      # Training utterances with longer texts are dropped (characters).
train_text_normalizer=none # How training transcripts are written: none, nfkc, lower or lower_no_punctuation.
speed_perturb_factors=   # Speeds that the training set is copied at, e.g. "0.9 1.0 1.1" (separated by spaces).
join_seconds=0           # Training utterances of a speaker are joined, beside themselves, into ones of at most this (s).
filter_args=             # More options for part_filter_data.

# System
model_config=            # Model: encoder, adapter, LLM (YAML).
part_config=conf/system/part   # Directory with stage1.yaml [stage2.yaml [stage3.yaml]]; a stage without a file is skipped.
part_tag=                # Name of the experiment; by default that of part_config's directory (conf/system/part: part).
part_args=               # More options for part_train, in all stages.
cache_features=false     # Whether stage 7 reads the frozen encoder's output, computed once in stage 6.
extract_args=            # More options for part_extract_features.
seed=0                   # Seed of the trainings.
master_port=             # Port for trainings on several nodes; by default a shared file is used.
master_addr=             # Host of rank 0, with master_port; Slurm finds it by itself.

# Decoding and scoring
decode_config=                                # Options of the search (YAML); greedy by default.
inference_model=valid.acc.ave.safetensors     # Weights of the last stage that are decoded with.
inference_batch_size=                         # Utterances decoded at once, unless batch_bins is set; by default the configuration's, or 8.
inference_args=                               # More options for part_inference.
score_config=            # Settings of scoring (YAML); by default conf/score.yaml, if there.
main_tag=                # Experiment at the top of RESULTS.md; by default this one.
report_title=RESULTS     # Heading of RESULTS.md.

# Packing
with_base_models=false   # Put encoder and LLM into the archive; needed where they are local directories.
hf_repo=                 # Upload it to this repository of the Hugging Face hub (owner/name); skipped without a token.
pack_args=               # More options for part_pack, such as "--license apache-2.0".

help_message=$(
    cat <<EOF
Usage: $0 --model_config <model.yaml> --part_config <directory> [options]

Stages:
   1  data preparation (local/data.sh)          7  PART stage 1: adapter
   2  format audio into <dumpdir>/raw           8  PART stage 2: within-language alignment
   3  filter by length and text                 9  PART stage 3: cross-language alignment
   4  base models (local/base_models.sh, or    10  decoding
      check and fetch)                         11  scoring
   5  statistics and mixture table             12  packing, upload (skipped by default;
   6  encoder feature extraction                   --skip_packing false)
      (with --cache_features true)

A stage that is done is not run again unless its options, its configuration or a stage before it
changed. --stage N [--stop_stage M] runs stages N to M again; a finished training is moved aside, an
interrupted one goes on from its last checkpoint.

Options (with their defaults):
$(option_help "${BASH_SOURCE[0]}")
EOF
)

called=$(printf '%q ' "$0" "$@")
# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
hand_over espnet_part.recipe.part "${BASH_SOURCE[0]}" "$@"
