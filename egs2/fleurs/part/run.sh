#!/usr/bin/env bash
# PART on FLEURS: speech recognition in ten languages, and speech translation from and into English.
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
corpus_directories FLEURS
cd -- "${here}"

langs="zh,en,ja,ko,yue,de,fr,ru,es,it" # Languages.
directions=en                          # Translation: en (from and into English), all, or pairs (de-fr).
text_column=raw                        # raw: with case and punctuation; transcription: without.
data_opts=                             # More options for local/data.sh (see its --help).
part_config=conf/part                  # Schedule; conf/two_stage and two_stage_lora train as long.
# GPUs of 80 GB. On one of 24 GB: --ngpu 1 --model_config conf/model/whisper_small_qwen2.5_0.5b.yaml
ngpu=8                                 # GPUs of a machine.
model_config=conf/model/whisper_large_v3_qwen2.5_1.5b.yaml
nj=8
num_nodes=1

help_message="Usage: FLEURS=/corpora/fleurs $0 [options]

FLEURS is the directory of the corpus (or set it in db.sh). Own options, then those of part.sh:
  --langs LIST         languages, of FLEURS' 102 [${langs}]
  --directions LIST    translation: en (from and into English), all, or pairs such as de-fr [${directions}]
  --text_column NAME   raw (with case and punctuation) or transcription [${text_column}]
  --ngpu N             GPUs of a machine [${ngpu}]
  --data_opts STRING   more options for local/data.sh, e.g. '--unpack_dir /scratch/fleurs'"

own_options "langs directions text_column data_opts part_config ngpu model_config nj num_nodes" "$@"
decoding_options

# A wrong directory is found before anything is set up.
if "${data_needed}"; then utils/check_corpus.sh FLEURS; fi
. ./db.sh
if "${data_needed}" && ! compgen -G "${FLEURS}/*_*/train.tsv" >/dev/null &&
    ! compgen -G "${FLEURS}/data/*_*/train.tsv" >/dev/null; then
    echo "run.sh: error: FLEURS=${FLEURS}: has no language: neither ${FLEURS}/*_*/train.tsv nor" \
        "${FLEURS}/data/*_*/train.tsv; see db.sh" >&2
    exit 1
fi

../../../tools/setup.sh

exec ./part.sh \
    --train_set train \
    --valid_set dev \
    --test_sets test \
    --local_data_opts "$(quote_words --corpus_dir "${FLEURS}" \
        --langs "${langs}" --directions "${directions}" --text_column "${text_column}")${data_opts}" \
    --audio_format copy \
    --ngpu "${ngpu}" \
    --num_nodes "${num_nodes}" \
    --nj "${nj}" \
    "${decoding[@]}" \
    --model_config "${model_config}" \
    --part_config "${part_config}" \
    --report_title "RESULTS: FLEURS (${langs})" \
    ${rest[@]+"${rest[@]}"}
