#!/usr/bin/env bash
# Common Voice: multilingual speech recognition, PART's stages 1 and 2. Set COMMONVOICE in db.sh (or in
# the environment) to a release's directory. Takes part.sh's options as well (./part.sh --help).
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

langs="zh,en,ja,ko,yue,de,fr,ru,es,it" # Languages (zh) or locales (zh-TW), with commas.
data_opts=                             # More options for the data preparation.

help_message="Usage: $0 [options]

Own options, then those of part.sh:
  --langs LIST        languages (zh is zh-CN) or locales (zh-TW, zh-HK, sv-SE), with commas
                      [${langs}]
  --data_opts STRING  more options for the data preparation
                      (python -m espnet_part.corpora.commonvoice --help)"

rest=()
checked=false
while [ $# -gt 0 ]; do
    case "$1" in
        --langs | --data_opts)
            if [ $# -lt 2 ]; then
                echo "run.sh: error: the option $1 needs a value" >&2
                exit 2
            fi
            printf -v "${1#--}" '%s' "$2"
            shift 2
            ;;
        -h | --help)
            printf '%s\n\n' "${help_message}"
            ./part.sh --help
            exit 0
            ;;
        *)
            # Only stage 1 reads the corpus; with these it may be done already.
            case "$1" in --stage | --skip_data_prep) checked=true ;; esac
            rest+=("$1")
            shift
            ;;
    esac
done

"${checked}" || utils/check_corpus.sh COMMONVOICE
. ./db.sh
../../../tools/setup.sh

# another directory, and the data are made anew
corpus_opts=(--corpus_dir "${COMMONVOICE}")
if [ -n "${COVOST2}" ]; then corpus_opts+=(--covost2_dir "${COVOST2}"); fi

./part.sh \
    --train_set train \
    --valid_set dev \
    --test_sets test \
    --local_data_opts "$(printf '%q ' "${corpus_opts[@]}" --langs "${langs}") ${data_opts}" \
    --audio_format copy \
    --model_config conf/model/whisper_small_qwen2.5_0.5b.yaml \
    --part_config conf/part \
    --report_title "RESULTS: Common Voice (${langs})" \
    ${rest[@]+"${rest[@]}"}
