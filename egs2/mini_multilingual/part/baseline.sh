#!/usr/bin/env bash
# Stock ESPnet models on the embedded corpus, beside PART in exp/RESULTS.md. Takes the options of the
# template's baseline.sh as well (./baseline.sh --help).
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -e
set -u
set -o pipefail

here=$(dirname -- "${BASH_SOURCE[0]}")
[ -d "${here}/utils" ] || here=${SLURM_SUBMIT_DIR:-.} # sbatch runs a copy of this file, elsewhere
[ -d "${here}/utils" ] || { echo "$0: error: submit it from its own directory" >&2; exit 1; }
cd -- "${here}"

# shellcheck source=../../TEMPLATE/part/utils/recipe.sh
. utils/recipe.sh
part_script=../../TEMPLATE/part/baseline.sh

help_message="Usage: $0 [options]

Makes the corpus where ./run.sh has not made it, and takes the options of the template's baseline.sh:"

own_options "" "$@"

../../../tools/setup.sh --extras mini

prepare=()
if [ ! -f dump/.done/stage3_train ]; then prepare=(--data_command "./run.sh --stop_stage 3"); fi
# The ASR model also hears the clips that PART's encoder was pretrained on, with their transcripts.
exec "${part_script}" \
    ${prepare[@]+"${prepare[@]}"} \
    --train_set train \
    --valid_set dev \
    --test_sets test \
    --extra_asr_dirs data/encoder_train \
    --nbpe 300 \
    --bpe_char_cover 1.0 \
    --ngpu 0 \
    --num_threads 2 \
    --nj 2 \
    --inference_nj 3 \
    --st_init "encoder ctc decoder" \
    ${rest[@]+"${rest[@]}"}
