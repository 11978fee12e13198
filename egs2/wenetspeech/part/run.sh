#!/usr/bin/env bash
# PART on WenetSpeech: recognition of Mandarin from the web; there is nothing to translate.
# Takes part.sh's options as well (./part.sh --help).
set -e
set -u
set -o pipefail

# What the environment says wins over db.sh, and is relative to where the command is typed.
wenetspeech="${WENETSPEECH:+$(realpath -m -- "${WENETSPEECH}")}"
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

subset=M              # What is trained on: S (100 h), M (1000 h) or L (10005 h).
data_opts=            # More options for local/data.sh (see its --help).
part_config=conf/part # Schedule, for subset M; longer ones for L.
# 8 x 80 GB. On one 24 GB GPU: --ngpu 1 --model_config conf/model/whisper_small_qwen2.5_0.5b.yaml
#   --part_args "--batch_bins 5000 --accum_grad 32"
ngpu=8
model_config=conf/model/whisper_large_v3_qwen2.5_1.5b.yaml
nj=8

help_message="Usage: WENETSPEECH=/corpora/WenetSpeech $0 [options]

WENETSPEECH is the directory of the corpus (or set it in db.sh). Own options, then those of part.sh:
  --subset NAME        what is trained on: S (100 h), M (1000 h) or L (10005 h) [${subset}]
  --data_opts STRING   more options for local/data.sh"

rest=()
while [ $# -gt 0 ]; do
    case "$1" in
        --subset | --data_opts | --part_config | --ngpu | --model_config | --nj)
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
wenetspeech="${wenetspeech:-${WENETSPEECH:-}}"
wanted="the directory with WenetSpeech.json and audio/{train,dev,test_net,test_meeting}. The password for
the download comes by mail, with the form at https://wenet.org.cn/WenetSpeech"
if [ -z "${wenetspeech}" ]; then
    echo "run.sh: error: WENETSPEECH is not set. In db.sh, or as WENETSPEECH=/corpora/WenetSpeech ./run.sh, it names
${wanted}" >&2
    exit 1
fi
for name in . WenetSpeech.json audio/train audio/dev audio/test_net audio/test_meeting; do
    if [ ! -e "${wenetspeech}/${name}" ]; then
        echo "run.sh: error: WENETSPEECH=${wenetspeech}: no such directory or file: ${wenetspeech}/${name}.
It must be ${wanted}" >&2
        exit 1
    fi
done

../../../tools/setup.sh

decoding=(--inference_nj "${ngpu}" --gpu_inference true)
if [ "${ngpu}" = 0 ]; then decoding=(--inference_nj "${nj}"); fi

./part.sh \
    --train_set train \
    --valid_set dev \
    --test_sets "test_net test_meeting" \
    --local_data_opts "$(printf '%q ' --corpus_dir "$(realpath -- "${wenetspeech}")" \
        --subset "${subset}")${data_opts}" \
    --audio_format copy \
    --ngpu "${ngpu}" \
    --nj "${nj}" \
    "${decoding[@]}" \
    --model_config "${model_config}" \
    --part_config "${part_config}" \
    --report_title "RESULTS: WenetSpeech, subset ${subset}" \
    ${rest[@]+"${rest[@]}"}
