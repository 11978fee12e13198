#!/usr/bin/env bash
# PART on Common Voice: speech recognition in ten languages. It has no translations: PART's third stage
# is left out. Takes part.sh's options as well (./part.sh --help).
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
# shellcheck source=../../TEMPLATE/part/utils/recipe.sh
. "${here}/utils/recipe.sh"
# What the environment says wins over db.sh.
corpus_directories COMMONVOICE COVOST2
cd -- "${here}"

langs="zh,en,ja,ko,yue,de,fr,ru,es,it" # Languages (zh is zh-CN) or locales (zh-TW), with commas.
data_opts=                             # More options for local/data.sh (see its --help).
part_config=conf/part                  # Schedule.
# GPUs of 80 GB. On one of 24 GB: --ngpu 1 --model_config conf/model/whisper_small_qwen2.5_0.5b.yaml
ngpu=8                                 # GPUs of a machine.
model_config=conf/model/whisper_large_v3_qwen2.5_1.5b.yaml
nj=8
num_nodes=1

help_message="Usage: COMMONVOICE=/corpora/cv-corpus-15.0-2023-09-08 $0 [options]

COMMONVOICE is the directory of a release (or set it in db.sh). Where COVOST2, CoVoST 2's tables, is set
as well, clips of its dev and test sets are left out of training. Own options, then those of part.sh:
  --langs LIST         languages (zh is zh-CN, sv is sv-SE) or locales (zh-TW, zh-HK) [${langs}]
  --ngpu N             GPUs of a machine [${ngpu}]
  --data_opts STRING   more options for local/data.sh, e.g. '--unpack_dir /scratch/cv'"

own_options "langs data_opts part_config ngpu model_config nj num_nodes" "$@"
decoding_options

# A wrong directory is found before anything is set up.
if "${data_needed}"; then utils/check_corpus.sh COMMONVOICE; fi
. ./db.sh
if "${data_needed}" && ! compgen -G "${COMMONVOICE}/*/clips" >/dev/null &&
    ! compgen -G "${COMMONVOICE}/cv-corpus-*/*/clips" >/dev/null &&
    ! compgen -G "${COMMONVOICE}/*.tar.gz" >/dev/null; then
    echo "run.sh: error: COMMONVOICE=${COMMONVOICE}: has no ${COMMONVOICE}/<locale>/clips and no" \
        "archives; see db.sh" >&2
    exit 1
fi

../../../tools/setup.sh

# The directories are options, so that with another one the data are made anew.
corpus_opts=(--corpus_dir "${COMMONVOICE}" --langs "${langs}")
if [ -n "${COVOST2}" ]; then corpus_opts+=(--covost2_dir "${COVOST2}"); fi

exec ./part.sh \
    --train_set train \
    --valid_set dev \
    --test_sets test \
    --local_data_opts "$(quote_words "${corpus_opts[@]}")${data_opts}" \
    --audio_format copy \
    --ngpu "${ngpu}" \
    --num_nodes "${num_nodes}" \
    --nj "${nj}" \
    "${decoding[@]}" \
    --model_config "${model_config}" \
    --part_config "${part_config}" \
    --report_title "RESULTS: Common Voice (${langs})" \
    ${rest[@]+"${rest[@]}"}
