#!/usr/bin/env bash
# The embedded recipe: makes its own speech, pretrains its own encoder and LLM, trains PART's three
# stages, decodes and scores. Takes part.sh's options as well (./part.sh --help).
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

langs="en de es"      # Languages: en and at least one of de es fr it pt ru zh.
systems="part"        # Directories of conf/ to train, the first one at the top of RESULTS.md.
seeds="0"             # Seeds of the trainings; the tag of a system gets _seedN for each but the first.
data_opts=            # More options for the corpus (python -m espnet_part.corpora.mini.prepare --help).
base_opts=            # More options for local/base_models.sh.
nj=2                  # Parallel jobs.
model_config=conf/model.yaml

help_message="Usage: $0 [options]

Own options, then those of part.sh:
  --langs LIST        en and at least one of de es fr it pt ru zh [${langs}]
  --systems LIST      directories of conf/ to train and compare: part, two_stage, two_stage_lora,
                      no_staging, no_lora, no_progressive [${systems}]
  --seeds LIST        seeds of the trainings [${seeds}]
  --data_opts STRING  more options for local/data.sh
  --base_opts STRING  more options for local/base_models.sh"

own_options "langs systems seeds data_opts base_opts nj model_config" "$@"

# They differ from training to training: one for all would train an ablation over PART.
for ((n = 0; n < ${#rest[@]}; n += 2)); do
    case "${rest[n]}" in
        --part_config | --part_tag | --main_tag)
            die "${rest[n]} is set for each of --systems; name directories of conf/ there: --systems no_lora" ;;
        --seed) die "--seed is set for each of --seeds: --seeds ${rest[n + 1]}" ;;
    esac
done

# A wrong name is found here, not when its turn has come after hours of training.
read -r -a system_list <<<"${systems}"
read -r -a seed_list <<<"${seeds}"
all_different --systems ${system_list[@]+"${system_list[@]}"}
read -r -a lang_list <<<"${langs//,/ }"
all_different --langs ${lang_list[@]+"${lang_list[@]}"}
for lang in "${lang_list[@]}"; do
    [[ " en de es fr it pt ru zh " == *" ${lang} "* ]] || die "--langs: no such language here: ${lang}; see --help"
done
[[ " ${lang_list[*]} " == *" en "* && "${#lang_list[@]}" -gt 1 ]] ||
    die "--langs ${langs}: must name en and another language"
all_different --seeds ${seed_list[@]+"${seed_list[@]}"}
for system in "${system_list[@]}"; do
    compgen -G "conf/${system}/stage[123].yaml" >/dev/null ||
        die "--systems ${system}: there is no conf/${system}/stage1.yaml, stage2.yaml or stage3.yaml"
done
for seed in "${seed_list[@]}"; do
    [[ "${seed}" =~ ^(0|[1-9][0-9]{0,8})$ ]] || die "--seeds must be numbers: ${seed}"
done

../../../tools/setup.sh --extras mini

if [ ! -e exp/RESULTS.md ] && [ "${#rest[@]}" -eq 0 ]; then
    cat <<END
On two CPU cores the whole takes 20 to 60 minutes: the corpus a tenth, its encoder and LLM (stage 4) half,
PART's three trainings (stages 7 to 9) a third, decoding the rest. Typed again, it goes on where it was.
END
fi

main_tag="${system_list[0]}"
shared=() # the data and the base models serve all systems

for system in "${system_list[@]}"; do
    for seed in "${seed_list[@]}"; do
        tag="${system}"
        if [ "${seed}" != "${seed_list[0]}" ]; then tag+="_seed${seed}"; fi
        stoppable ./part.sh \
            --train_set train \
            --valid_set dev \
            --test_sets test \
            --local_data_opts "--langs '${langs}' --nj ${nj} ${data_opts}" \
            --local_base_models_opts "--langs '${langs}' ${base_opts}" \
            --audio_format wav \
            --ngpu 0 \
            --num_threads 2 \
            --nj "${nj}" \
            --inference_nj 2 \
            --model_config "${model_config}" \
            --part_config "conf/${system}" \
            --part_tag "${tag}" \
            --main_tag "${main_tag}" \
            --seed "${seed}" \
            --report_title "RESULTS: mini_multilingual (${langs})" \
            --with_base_models true \
            ${shared[@]+"${shared[@]}"} \
            ${rest[@]+"${rest[@]}"}
        shared=(--skip_data_prep true)
    done
done
