#!/usr/bin/env bash
# PART on CoVoST 2: speech recognition and speech translation from and into English.
# Takes part.sh's options as well (./part.sh --help).
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
corpus_directories COVOST2 COMMONVOICE4
cd -- "${here}"

langs="zh,en,ja,ko,yue,de,fr,ru,es,it" # Languages; all directions among them are taken.
directions=                            # Directions in place of that, e.g. fr-en,en-de.
data_opts=                             # More options for local/data.sh (see its --help).
part_config=conf/part                  # Schedule; conf/two_stage and two_stage_lora train as long.
# GPUs of 80 GB. On one of 24 GB: --ngpu 1 --model_config conf/model/whisper_small_qwen2.5_0.5b.yaml
ngpu=8                                 # GPUs of a machine.
model_config=conf/model/whisper_large_v3_qwen2.5_1.5b.yaml
nj=8
num_nodes=1

help_message="Usage: COVOST2=/corpora/covost2 COMMONVOICE4=/corpora/cv-corpus-4-2019-12-10 $0 [options]

COVOST2 is the directory of the tables, COMMONVOICE4 that of Common Voice 4 or a later release (or set
them in db.sh). Own options, then those of part.sh:
  --langs LIST         languages; all directions among them are taken [${langs}]
  --directions LIST    directions in place of that, e.g. fr-en,en-de
  --ngpu N             GPUs of a machine [${ngpu}]
  --data_opts STRING   more options for local/data.sh, e.g. '--unpack_dir /scratch/covost2'"

own_options "langs directions data_opts part_config ngpu model_config nj num_nodes" "$@"
decoding_options

# A wrong directory is found before anything is set up.
if "${data_needed}"; then utils/check_corpus.sh COVOST2 COMMONVOICE4; fi
. ./db.sh
if "${data_needed}" && ! compgen -G "${COVOST2}/covost_v2.*" >/dev/null &&
    ! compgen -G "${COVOST2}/*/covost_v2.*" >/dev/null; then
    echo "run.sh: error: COVOST2=${COVOST2}: has no covost_v2.<source>_<target>.tsv; see db.sh" >&2
    exit 1
fi

../../../tools/setup.sh

# The directories are options, so that with another one the data are made anew.
corpus_opts=(--covost2_dir "${COVOST2}" --commonvoice_dir "${COMMONVOICE4}")
corpus_opts+=(--langs "${langs}" --directions "${directions}")

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
    --report_title "RESULTS: CoVoST 2 (${directions:-${langs}})" \
    ${rest[@]+"${rest[@]}"}
