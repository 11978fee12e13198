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

cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

if [ ! -f dump/.done/stage3_train ] && [[ " $* " != *" --help "* ]]; then
    ./run.sh --stop_stage 3 # the corpus
fi
# The ASR model also hears the clips that PART's encoder was pretrained on, with their transcripts.
exec ../../TEMPLATE/part/baseline.sh \
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
    "$@"
