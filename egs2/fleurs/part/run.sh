#!/usr/bin/env bash
# PART on FLEURS: speech recognition in ten languages, and speech translation from and into English.
# Takes part.sh's options as well (./part.sh --help).
set -e
set -u
set -o pipefail

# What the environment says wins over db.sh, and is relative to where the command is typed.
fleurs="${FLEURS:+$(realpath -m -- "${FLEURS}")}"
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

langs="zh,en,ja,ko,yue,de,fr,ru,es,it" # Languages.
directions=en                          # Translation: en (from and into English), all, or pairs (de-fr).
text_column=raw                        # raw: with case and punctuation; transcription: without.
data_opts=                             # More options for local/data.sh (see its --help).
part_config=conf/part                  # Schedule; conf/baseline/two_stage_lora and others beside it.
# 8 x 80 GB. On one 24 GB GPU: --ngpu 1 --model_config conf/model/whisper_small_qwen2.5_0.5b.yaml
#   --part_args "--batch_bins 5000 --accum_grad 32"
ngpu=8
model_config=conf/model/whisper_large_v3_qwen2.5_1.5b.yaml
nj=8

help_message="Usage: FLEURS=/corpora/fleurs $0 [options]

FLEURS is the directory of the corpus (or set it in db.sh). Own options, then those of part.sh:
  --langs LIST         languages, of FLEURS' 102 [${langs}]
  --directions LIST    translation: en (from and into English), all, or pairs such as de-fr [${directions}]
  --text_column NAME   raw (with case and punctuation) or transcription [${text_column}]
  --data_opts STRING   more options for local/data.sh, e.g. '--unpack_dir /scratch/fleurs'"

rest=()
while [ $# -gt 0 ]; do
    case "$1" in
        --langs | --directions | --text_column | --data_opts | --part_config | --ngpu | --model_config | --nj)
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
            rest+=("$1")
            shift
            ;;
    esac
done

# A wrong directory is found before anything is set up.
# shellcheck source=../../TEMPLATE/part/db.sh
. ./db.sh
fleurs="${fleurs:-${FLEURS:-}}"
wanted="a directory with FLEURS' languages: CODE/{train,dev,test}.tsv and
CODE/audio/{train,dev,test}.tar.gz (or what is in them), CODE being de_de, en_us and so on. It can be
had from https://huggingface.co/datasets/google/fleurs (the directory data), without an account"
if [ -z "${fleurs}" ]; then
    echo "run.sh: error: FLEURS is not set. In db.sh, or as FLEURS=/corpora/fleurs ./run.sh, it names
${wanted}" >&2
    exit 1
elif ! compgen -G "${fleurs}/*_*/train.tsv" >/dev/null && ! compgen -G "${fleurs}/data/*_*/train.tsv" >/dev/null; then
    echo "run.sh: error: FLEURS=${fleurs}: $([ -d "${fleurs}" ] && echo 'has no language' || echo 'no such directory').
It must be ${wanted}" >&2
    exit 1
fi

../../../tools/setup.sh

decoding=(--inference_nj "${ngpu}" --gpu_inference true)
if [ "${ngpu}" = 0 ]; then decoding=(--inference_nj "${nj}"); fi

./part.sh \
    --train_set train \
    --valid_set dev \
    --test_sets test \
    --local_data_opts "$(printf '%q ' --corpus_dir "$(realpath -- "${fleurs}")" \
        --langs "${langs}" --directions "${directions}" --text_column "${text_column}" \
        --nj "${nj}")${data_opts}" \
    --audio_format copy \
    --ngpu "${ngpu}" \
    --nj "${nj}" \
    "${decoding[@]}" \
    --model_config "${model_config}" \
    --part_config "${part_config}" \
    --report_title "RESULTS: FLEURS (${langs})" \
    ${rest[@]+"${rest[@]}"}
