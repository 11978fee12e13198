#!/usr/bin/env bash
# The paper's mixture: speech recognition of Common Voice, FLEURS, WenetSpeech and CoVoST 2, speech and text
# translation of FLEURS and CoVoST 2; evaluated on all four. Takes part.sh's options as well (./part.sh --help).
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
variables=(COMMONVOICE COMMONVOICE4 FLEURS WENETSPEECH COVOST2)
corpus_directories "${variables[@]}"
cd -- "${here}"

size=2b        # 2b and 8b: for GPUs of 80 GB; 24gb: for one of 24 GB.
langs="zh,en,ja,ko,yue,de,fr,ru,es,it"
data_opts=     # More options for local/data.sh.
ngpu=          # GPUs of a machine: 8, or 1 with --size 24gb.
num_nodes=1
nj=8
model_config=  # By default that of the size.
part_config=   # By default conf/part, or conf/part_asr where no corpus with translations is set.

help_message="Usage: [COMMONVOICE=DIR] [FLEURS=DIR] [WENETSPEECH=DIR] [COVOST2=DIR COMMONVOICE4=DIR] $0 [options]

The variables name the corpora (or set them in db.sh); those that are empty are left out. Own options, then
those of part.sh:
  --size NAME         2b (Whisper-large-v3's encoder and Qwen2.5-1.5B), 8b (with Qwen2.5-7B): GPUs of
                      80 GB; 24gb (Whisper-small's and Qwen2.5-0.5B): one GPU of 24 GB [${size}]
  --langs LIST        languages [${langs}]
  --data_opts STRING  more options for the data, e.g. '--wenetspeech_opts \"--subset M\"'
                      (local/data.sh --help)
  --ngpu N            GPUs of a machine [8; 1 with --size 24gb]
"

own_options "size langs data_opts ngpu num_nodes nj model_config part_config" "$@"

case "${size}" in
    2b) sized=whisper_large_v3_qwen2.5_1.5b gpus=8 ;;
    8b) sized=whisper_large_v3_qwen2.5_7b gpus=8 ;;
    24gb) sized=whisper_small_qwen2.5_0.5b gpus=1 ;;
    *)
        echo "run.sh: error: --size must be 2b, 8b or 24gb: ${size}" >&2
        exit 2
        ;;
esac
: "${model_config:=conf/model/${sized}.yaml}"
: "${ngpu:=${gpus}}"
decoding_options

# A wrong directory is found before anything is set up.
read -r -a corpora <<<"$(local/corpora.sh)"
[ ${#corpora[@]} -gt 0 ] || exit 1
test_sets=() translated=false
for name in "${corpora[@]}"; do
    case "${name}" in
        wenetspeech) test_sets+=(wenetspeech_test_net wenetspeech_test_meeting) ;;
        *) test_sets+=("${name}_test") ;;
    esac
    case "${name}" in fleurs | covost2) translated=true ;; esac
done
if [ -z "${part_config}" ]; then
    part_config=conf/part
    if ! "${translated}"; then
        part_config=conf/part_asr
        echo "run.sh: warning: neither FLEURS nor COVOST2 is set: no translation, and no third stage" >&2
    fi
fi

../../../tools/setup.sh

# The directories are options, so that with another one the data are made anew.
. ./db.sh
places=
for variable in "${variables[@]}"; do
    if [ -n "${!variable}" ]; then places+="$(quote_words "${variable}=${!variable}")"; fi
done

exec ./part.sh \
    --train_set train \
    --valid_set dev \
    --test_sets "${test_sets[*]}" \
    --local_data_opts "$(quote_words --langs "${langs}" --corpora "${places}")${data_opts}" \
    --audio_format copy \
    --ngpu "${ngpu}" \
    --num_nodes "${num_nodes}" \
    --nj "${nj}" \
    "${decoding[@]}" \
    --model_config "${model_config}" \
    --part_config "${part_config}" \
    --report_title "RESULTS: ${corpora[*]} (${langs})" \
    ${rest[@]+"${rest[@]}"}
