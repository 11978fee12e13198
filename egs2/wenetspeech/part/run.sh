#!/usr/bin/env bash
# PART on WenetSpeech: recognition of Mandarin from the web; there is nothing to translate.
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
corpus_directories WENETSPEECH
cd -- "${here}"

subset=M              # What is trained on: S (100 h), M (1000 h) or L (10005 h).
data_opts=            # More options for local/data.sh (see its --help).
part_config=conf/part # Schedule, for subset M; longer ones for L.
# GPUs of 80 GB. On one of 24 GB: --ngpu 1 --model_config conf/model/whisper_small_qwen2.5_0.5b.yaml
ngpu=8                # GPUs of a machine.
model_config=conf/model/whisper_large_v3_qwen2.5_1.5b.yaml
nj=8
num_nodes=1

help_message="Usage: WENETSPEECH=/corpora/WenetSpeech $0 [options]

WENETSPEECH is the directory of the corpus (or set it in db.sh). Own options, then those of part.sh:
  --subset NAME        what is trained on: S (100 h), M (1000 h) or L (10005 h) [${subset}]
  --ngpu N             GPUs of a machine [${ngpu}]
  --data_opts STRING   more options for local/data.sh"

own_options "subset data_opts part_config ngpu model_config nj num_nodes" "$@"
decoding_options

# A wrong directory is found before anything is set up.
if "${data_needed}"; then utils/check_corpus.sh WENETSPEECH; fi
. ./db.sh
for name in WenetSpeech.json audio/train audio/dev audio/test_net audio/test_meeting; do
    if "${data_needed}" && [ ! -e "${WENETSPEECH}/${name}" ]; then
        echo "run.sh: error: WENETSPEECH=${WENETSPEECH}: has no ${name}; see db.sh" >&2
        exit 1
    fi
done

../../../tools/setup.sh

exec ./part.sh \
    --train_set train \
    --valid_set dev \
    --test_sets "test_net test_meeting" \
    --local_data_opts "$(quote_words --corpus_dir "${WENETSPEECH}" \
        --subset "${subset}")${data_opts}" \
    --audio_format copy \
    --ngpu "${ngpu}" \
    --num_nodes "${num_nodes}" \
    --nj "${nj}" \
    "${decoding[@]}" \
    --model_config "${model_config}" \
    --part_config "${part_config}" \
    --report_title "RESULTS: WenetSpeech, subset ${subset}" \
    ${rest[@]+"${rest[@]}"}
