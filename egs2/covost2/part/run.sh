#!/usr/bin/env bash
# PART on CoVoST 2: speech recognition and speech translation from and into English.
# Takes part.sh's options as well (./part.sh --help).
set -e
set -u
set -o pipefail

# What the environment says wins over db.sh, and is relative to where the command is typed.
for name in COVOST2 COMMONVOICE4; do
    if [ -n "${!name:-}" ]; then
        printf -v "${name}" '%s' "$(realpath -m -- "${!name}")"
        export "${name?}"
    fi
done
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

langs="zh,en,ja,ko,yue,de,fr,ru,es,it" # Languages; all directions among them are taken.
directions=                            # Directions in place of that, e.g. fr-en,en-de.
data_opts=                             # More options for local/data.sh (see its --help).
part_config=conf/part                  # Schedule; conf/baseline_2stage and baseline_2stage_lora train as long.
# GPUs of 80 GB. On one of 24 GB: --ngpu 1 --model_config conf/model/whisper_small_qwen2.5_0.5b.yaml
ngpu=8                                 # GPUs of a machine.
model_config=conf/model/whisper_large_v3_qwen2.5_1.5b.yaml
nj=8
num_nodes=1
part_args=                             # By default the batch sizes that make the same step on any number of GPUs.

help_message="Usage: COVOST2=/corpora/covost2 COMMONVOICE4=/corpora/cv-corpus-4-2019-12-10 $0 [options]

COVOST2 is the directory of the tables, COMMONVOICE4 that of Common Voice 4 or a later release (or set
them in db.sh). Own options, then those of part.sh:
  --langs LIST         languages; all directions among them are taken [${langs}]
  --directions LIST    directions in place of that, e.g. fr-en,en-de
  --ngpu N             GPUs of a machine [${ngpu}]
  --data_opts STRING   more options for local/data.sh, e.g. '--unpack_dir /scratch/covost2'"

rest=()
checked=false
while [ $# -gt 0 ]; do
    case "$1" in
        --langs | --directions | --data_opts | --part_config | --ngpu | --model_config | --nj | --num_nodes | --part_args)
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
            # Stage 1 alone needs the whole corpus; with these it may be done already.
            case "$1" in --stage | --skip_data_prep) checked=true ;; esac
            rest+=("$1")
            shift
            ;;
    esac
done

# A wrong directory is found before anything is set up.
"${checked}" || utils/check_corpus.sh COVOST2 COMMONVOICE4
. ./db.sh
if ! "${checked}" && ! compgen -G "${COVOST2}/covost_v2.*" >/dev/null &&
    ! compgen -G "${COVOST2}/*/covost_v2.*" >/dev/null; then
    echo "run.sh: error: COVOST2=${COVOST2}: has no covost_v2.<source>_<target>.tsv; see db.sh" >&2
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

# The directories are options, so that with another one the data are made anew.
corpus_opts=(--covost2_dir "${COVOST2}" --commonvoice_dir "${COMMONVOICE4}")
corpus_opts+=(--langs "${langs}" --directions "${directions}")

./part.sh \
    --train_set train \
    --valid_set dev \
    --test_sets test \
    --local_data_opts "$(printf '%q ' "${corpus_opts[@]}")${data_opts}" \
    --audio_format copy \
    --ngpu "${ngpu}" \
    --num_nodes "${num_nodes}" \
    --nj "${nj}" \
    "${decoding[@]}" \
    --model_config "${model_config}" \
    --part_config "${part_config}" \
    --part_args "${part_args}" \
    --report_title "RESULTS: CoVoST 2 (${directions:-${langs}})" \
    ${rest[@]+"${rest[@]}"}
