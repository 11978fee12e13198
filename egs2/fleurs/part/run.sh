#!/usr/bin/env bash
# PART on FLEURS: speech recognition in ten languages, and speech translation from and into English.
# Takes part.sh's options as well (./part.sh --help).
set -e
set -u
set -o pipefail

# What the environment says wins over db.sh, and is relative to where the command is typed.
if [ -n "${FLEURS:-}" ]; then
    FLEURS=$(realpath -m -- "${FLEURS}")
    export FLEURS
fi
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

langs="zh,en,ja,ko,yue,de,fr,ru,es,it" # Languages.
directions=en                          # Translation: en (from and into English), all, or pairs (de-fr).
text_column=raw                        # raw: with case and punctuation; transcription: without.
data_opts=                             # More options for local/data.sh (see its --help).
part_config=conf/part                  # Schedule; conf/baseline_2stage and baseline_2stage_lora train as long.
# GPUs of 80 GB. On one of 24 GB: --ngpu 1 --model_config conf/model/whisper_small_qwen2.5_0.5b.yaml
ngpu=8                                 # GPUs of a machine.
model_config=conf/model/whisper_large_v3_qwen2.5_1.5b.yaml
nj=8
num_nodes=1
part_args=                             # By default the batch sizes that make the same step on any number of GPUs.

help_message="Usage: FLEURS=/corpora/fleurs $0 [options]

FLEURS is the directory of the corpus (or set it in db.sh). Own options, then those of part.sh:
  --langs LIST         languages, of FLEURS' 102 [${langs}]
  --directions LIST    translation: en (from and into English), all, or pairs such as de-fr [${directions}]
  --text_column NAME   raw (with case and punctuation) or transcription [${text_column}]
  --ngpu N             GPUs of a machine [${ngpu}]
  --data_opts STRING   more options for local/data.sh, e.g. '--unpack_dir /scratch/fleurs'"

rest=()
while [ $# -gt 0 ]; do
    case "$1" in
        --langs | --directions | --text_column | --data_opts | --part_config | --ngpu | --model_config | --nj | --num_nodes | --part_args)
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
utils/check_corpus.sh FLEURS
. ./db.sh
if ! compgen -G "${FLEURS}/*_*/train.tsv" >/dev/null && ! compgen -G "${FLEURS}/data/*_*/train.tsv" >/dev/null; then
    echo "run.sh: error: FLEURS=${FLEURS}: has no language: neither ${FLEURS}/*_*/train.tsv nor" \
        "${FLEURS}/data/*_*/train.tsv; see db.sh" >&2
    exit 1
fi

../../../tools/setup.sh

if [ -z "${part_args}" ] && [[ "${ngpu}" =~ ^[1-9][0-9]*$ && "${num_nodes}" =~ ^[1-9][0-9]*$ ]]; then
    # A GPU holds 10000; accumulation makes the 160000 of conf/training.yaml of it, or the nearest above.
    gpus=$((ngpu * num_nodes))
    part_args="--batch_bins $((10000 * gpus)) --accum_grad $(((16 + gpus - 1) / gpus))"
fi
decoding=(--inference_nj "${ngpu}" --gpu_inference true)
if [ "${ngpu}" = 0 ]; then decoding=(--inference_nj "${nj}"); fi

./part.sh \
    --train_set train \
    --valid_set dev \
    --test_sets test \
    --local_data_opts "$(printf '%q ' --corpus_dir "${FLEURS}" \
        --langs "${langs}" --directions "${directions}" --text_column "${text_column}" \
        --nj "${nj}")${data_opts}" \
    --audio_format copy \
    --ngpu "${ngpu}" \
    --num_nodes "${num_nodes}" \
    --nj "${nj}" \
    "${decoding[@]}" \
    --model_config "${model_config}" \
    --part_config "${part_config}" \
    --part_args "${part_args}" \
    --report_title "RESULTS: FLEURS (${langs})" \
    ${rest[@]+"${rest[@]}"}
