#!/usr/bin/env bash
# CoVoST 2: speech recognition and translation, all of PART's stages. Set COVOST2 (its tables) and
# COMMONVOICE4 (its audio: Common Voice 4, or a later release) in db.sh or in the environment. Takes
# part.sh's options as well (./part.sh --help).
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

langs="zh,en,ja,ko,yue,de,fr,ru,es,it" # Languages; all directions among them are taken.
directions=                            # Directions in place of that, e.g. fr-en,en-de.
data_opts=                             # More options for the data preparation.

help_message="Usage: $0 [options]

Own options, then those of part.sh:
  --langs LIST        languages, with commas; the directions among them are taken
                      [${langs}]
  --directions LIST   directions in place of that, e.g. fr-en,en-de
  --data_opts STRING  more options for the data preparation
                      (python -m espnet_part.corpora.covost2 --help)"

rest=()
checked=false
while [ $# -gt 0 ]; do
    case "$1" in
        --langs | --directions | --data_opts)
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

"${checked}" || utils/check_corpus.sh COVOST2 COMMONVOICE4
. ./db.sh
../../../tools/setup.sh

# another directory, and the data are made anew
corpus_opts=(--covost2_dir "${COVOST2}" --commonvoice_dir "${COMMONVOICE4}")
corpus_opts+=(--langs "${langs}" --directions "${directions}")

./part.sh \
    --train_set train \
    --valid_set dev \
    --test_sets test \
    --local_data_opts "$(printf '%q ' "${corpus_opts[@]}") ${data_opts}" \
    --audio_format copy \
    --model_config conf/model/whisper_small_qwen2.5_0.5b.yaml \
    --part_config conf/stage \
    --report_title "RESULTS: CoVoST 2 (${directions:-${langs}})" \
    ${rest[@]+"${rest[@]}"}
