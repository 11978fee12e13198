#!/usr/bin/env bash
# shellcheck disable=SC2034
# Trains, decodes and scores stock ESPnet models on a recipe's dump directories; see --help. Called
# from the recipe's directory.
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -euo pipefail

if [ ! -e utils/options.sh ]; then
    echo "baseline.sh: error: utils/options.sh is missing; run this from a recipe's directory (egs2/CORPUS/part)" >&2
    exit 1
fi
# shellcheck source=utils/options.sh
. utils/options.sh

# General
stage=               # First stage to run; when given, stages that are done are run again.
stop_stage=7         # Last stage to run.
tasks=               # Baselines: asr, st; by default those that the training set has data for.
ngpu=1               # Number of GPUs a node for training (0: CPU).
num_nodes=1          # Number of nodes for training.
num_threads=1        # Number of CPU threads of each training process.
nj=4                 # Number of parallel jobs for the statistics.
inference_nj=4       # Number of parallel jobs in decoding.
gpu_inference=false  # Whether decoding uses GPUs, one a job.
dumpdir=dump         # Directory of formatted data, as part.sh made it.
expdir=exp           # Directory of experiments.
python=python3       # Python of the environment.

# Data
train_set=           # Name of the training set; by default that of part.sh's last run.
valid_set=           # Name of the validation set; likewise.
test_sets=           # Names of the test sets, separated by spaces; likewise.
data_command=        # Command that makes these sets first, such as "./run.sh --stop_stage 3"; none if they are there.
extra_asr_dirs=      # More data directories whose ASR examples the ASR model trains on.
nbpe=10000           # Number of subwords; one vocabulary for both tasks and all languages.
bpe_char_cover=0.9995  # Share of each language's characters covered by the subwords; the others are unknown.

# Models
asr_config=conf/baseline_espnet/train_asr.yaml        # Training of espnet2.bin.asr_train.
st_config=conf/baseline_espnet/train_st.yaml          # Training of espnet2.bin.st_train.
asr_args=            # More options for espnet2.bin.asr_train.
st_args=             # More options for espnet2.bin.st_train.
feats_normalize=global_mvn  # Normalisation of the features: global_mvn or utterance_mvn.
asr_tag=espnet_asr   # Name of the ASR experiment, and of its row in RESULTS.md.
st_tag=espnet_st     # Name of the ST experiment, and of its row in RESULTS.md.
st_init="encoder ctc"  # Parts that the ST model takes from the ASR model; "none": trained from scratch.
seed=0               # Seed of the trainings.
master_port=         # Port for trainings on several nodes; by default a shared file is used.
master_addr=         # Host of rank 0, with master_port; Slurm finds it by itself.

# Decoding
asr_decode_config=conf/baseline_espnet/decode_asr.yaml  # Options of espnet2.bin.asr_inference.
st_decode_config=conf/baseline_espnet/decode_st.yaml    # Options of espnet2.bin.st_inference.
inference_model=valid.acc.ave.pth                       # Weights to decode with.
score_config=        # Settings of scoring (YAML); by default conf/score.yaml, if there. Give part.sh's.
force_language=true  # Whether the model is told the language to write, as PART is; or guesses it.

help_message=$(
    cat <<EOF
Usage: $0 [options]

Trains ESPnet's own ASR and ST models (espnet2.bin.asr_train, st_train) on the data that part.sh has
formatted, decodes with asr_inference and st_inference, and scores them exactly like PART; RESULTS.md
then has their rows. Run part.sh up to stage 3 first.

Stages:
   1  select each task's examples from <dumpdir>/raw     5  ST training
   2  subwords and token list                            6  decoding
   3  statistics (collect_stats)                         7  scoring and report
   4  ASR training

A stage that is done is not run again unless its options, its configuration or a stage before it
changed. --stage N [--stop_stage M] runs stages N to M again. A killed command goes on where it was
when it is typed again (a training from its last finished epoch).

Options (with their defaults):
$(option_help "${BASH_SOURCE[0]}")
EOF
)

called=$(printf '%q ' "$0" "$@")
# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
hand_over espnet_part.recipe.baseline "${BASH_SOURCE[0]}" "$@"
