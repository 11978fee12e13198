#!/usr/bin/env bash
# Prepares each corpus whose variable is set (see db.sh) in data/corpora, combines the training and the
# validation sets into data/train and data/dev, and links the test sets. Run by run.sh; see --help.
set -euo pipefail

langs="zh,en,ja,ko,yue,de,fr,ru,es,it" # Languages.
corpora=                               # Directories, in place of db.sh's: COVOST2=/a COMMONVOICE4=/b …
# More options for each corpus, see python3 -m espnet_part.corpora.NAME --help.
# shellcheck disable=SC2034 # prepare reads them by their names
commonvoice_opts=
# shellcheck disable=SC2034
fleurs_opts=
# shellcheck disable=SC2034
wenetspeech_opts="--subset L"
covost2_opts="--test_tasks s2tt"
max_dev_examples=200                   # Validation examples of each corpus, task, language and target language.

help_message="Usage: local/data.sh [options]
  --langs LIST             languages of all corpora but WenetSpeech, which is zh [${langs}]
  --corpora STRING         where the corpora lie, in place of what db.sh says: \"FLEURS=/a COVOST2=/b\"
  --NAME_opts STRING       more options of a corpus, NAME being commonvoice, fleurs, wenetspeech
                           [${wenetspeech_opts}] or covost2 [${covost2_opts}]
  --max_dev_examples N     validation examples of each corpus, task, language and target language
                           [${max_dev_examples}]"

log() { echo "local/data.sh: $*"; }

. utils/parse_options.sh
. ./path.sh
. utils/words.sh
split_words "${corpora}"
for word in ${words[@]+"${words[@]}"}; do export "${word?}"; done
. ./db.sh

read -r -a found <<<"$(local/corpora.sh)"
[ ${#found[@]} -gt 0 ] || exit 1

prepare() { # NAME OPTION ...: makes data/corpora/NAME
    local name="$1" more="${1}_opts"
    shift
    split_words "${!more}"
    log "preparing ${name}"
    python3 -m "espnet_part.corpora.${name}" --out "data/corpora/${name}" "$@" ${words[@]+"${words[@]}"}
}

train=() dev=()
for name in "${found[@]}"; do
    options=()
    tests=(test)
    case "${name}" in
        commonvoice)
            options=(--corpus_dir "${COMMONVOICE}" --langs "${langs}")
            # its training clips may be in CoVoST 2's dev and test sets
            if [ -n "${COVOST2:-}" ]; then options+=(--covost2_dir "${COVOST2}"); fi
            ;;
        covost2)
            options=(--covost2_dir "${COVOST2}" --langs "${langs}" --commonvoice_dir "${COMMONVOICE4:-${COMMONVOICE}}")
            # and the other way round
            if [ -n "${COMMONVOICE:-}" ]; then options+=(--held_out_dir "${COMMONVOICE}"); fi
            if [ -z "${COMMONVOICE4:-}" ]; then
                log "warning: COMMONVOICE4 is not set: CoVoST 2 takes its audio from ${COMMONVOICE}," \
                    "which lacks the clips that Common Voice has withdrawn since release 4"
            fi
            ;;
        fleurs) options=(--corpus_dir "${FLEURS}" --langs "${langs}") ;;
        wenetspeech)
            options=(--corpus_dir "${WENETSPEECH}")
            tests=(test_net test_meeting)
            ;;
    esac
    prepare "${name}" "${options[@]}"
    train+=("data/corpora/${name}/train")
    dev+=("data/corpora/${name}/dev")
    for dset in "${tests[@]}"; do
        ln -sfn "corpora/${name}/${dset}" "data/${name}_${dset}"
    done
done

python3 -m espnet_part.corpora.combine --out data/train "${train[@]}"
python3 -m espnet_part.corpora.combine --out data/dev --max_examples "${max_dev_examples}" "${dev[@]}"
