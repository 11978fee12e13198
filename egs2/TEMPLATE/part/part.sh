#!/usr/bin/env bash
# Trains and evaluates a multilingual speech LLM; see --help. Called by a recipe's run.sh, from the
# recipe's directory.
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -e
set -u
set -o pipefail

start_seconds=${SECONDS}

# General
stage=               # First stage to run; when given, stages that are done are run again.
stop_stage=12        # Last stage to run.
skip_data_prep=false # Skip stages 1-6.
skip_train=false     # Skip stages 7-9.
skip_eval=false      # Skip stages 10-11.
skip_packing=true    # Skip stage 12.
ngpu=1               # Number of GPUs a node for training (0: CPU).
num_nodes=1          # Number of nodes for training.
num_threads=1        # Number of CPU threads of each training process.
nj=4                 # Number of parallel jobs in data preparation.
inference_nj=4       # Number of parallel jobs in decoding.
gpu_inference=false  # Whether decoding uses GPUs, one a job.
dumpdir=dump         # Directory of formatted data and encoder features.
expdir=exp           # Directory of experiments.
python=python3       # Python of the environment.

# Data
train_set=train          # Name of the training set.
valid_set=valid          # Name of the validation set.
test_sets="test"         # Names of the test sets, separated by spaces.
local_data_opts=         # Options for local/data.sh.
local_base_models_opts=  # Options for local/base_models.sh.
audio_format=flac        # Format of the formatted audio: flac, wav, or copy (leave files where they are).
max_bad_share=0.05       # Largest share of unusable utterances before formatting stops.
min_wav_duration=0.1     # Shorter training utterances are dropped (s).
max_wav_duration=30      # Longer training utterances are dropped (s).
max_text_chars=1000      # Training utterances with longer texts are dropped (characters).
train_text_normalizer=none # How training transcripts are written: none, nfkc, lower or lower_no_punctuation.
filter_args=             # More options for part_filter_data.

# System
model_config=            # Model: encoder, adapter, LLM (YAML).
part_config=conf/stage   # Directory with stage1.yaml [stage2.yaml [stage3.yaml]]; a stage without a file is skipped.
part_tag=                # Name of the experiment; by default that of part_config's directory (conf/stage: part).
part_args=               # More options for part_train, in all stages.
cache_features=false     # Whether stage 7 reads the frozen encoder's output, computed once in stage 6.
extract_args=            # More options for part_extract_features.
seed=0                   # Seed of the trainings.
master_port=             # Port for trainings on several nodes; by default a shared file is used.
master_addr=             # Host of rank 0, with master_port; Slurm finds it by itself.

# Decoding and scoring
decode_config=                                # Options of the search (YAML); greedy by default.
inference_model=valid.acc.ave.safetensors     # Weights of the last stage that are decoded with.
inference_batch_size=                         # Utterances decoded at once; by default the configuration's, or 8.
inference_args=                               # More options for part_inference.
score_config=            # Settings of scoring (YAML); by default conf/score.yaml, if there.
main_tag=                # Experiment at the top of RESULTS.md; by default this one.
report_title=RESULTS     # Heading of RESULTS.md.

# Packing
with_base_models=false   # Put encoder and LLM into the archive; needed where they are local directories.
hf_repo=                 # Upload it to this repository of the Hugging Face hub (owner/name); skipped without a token.
pack_args=               # More options for part_pack, such as "--license apache-2.0".

help_message=$(
    cat <<EOF
Usage: $0 --model_config <model.yaml> --part_config <directory> [options]

Stages:
   1  data preparation (local/data.sh)          7  PART stage 1: adapter
   2  format audio into <dumpdir>/raw           8  PART stage 2: within-language alignment
   3  filter by length and text                 9  PART stage 3: cross-language alignment
   4  base models (local/base_models.sh, or    10  decoding
      check and fetch)                         11  scoring
   5  statistics and mixture table             12  packing, upload (skipped by default;
   6  encoder feature extraction                   --skip_packing false)
      (with --cache_features true)

A stage that is done is not run again unless its options, its configuration or a stage before it
changed. --stage N [--stop_stage M] runs stages N to M again; a finished training is moved aside, an
interrupted one goes on from its last checkpoint.

Options (with their defaults):
$(awk '
    /^# (General|Data|System|Decoding|Packing)/ { printf "  %s\n", $0; on = 1; next }
    /^help_message/ { exit }
    on && /^[a-z_]+=/ {
        eq = index($0, "="); hash = index($0, " # ")
        value = substr($0, eq + 1, hash - eq - 1); gsub(/^[ "]+|[ "]+$/, "", value)
        printf "    --%-24s %s%s\n", substr($0, 1, eq - 1), substr($0, hash + 3), \
            (value == "" ? "" : " [" value "]")
    }' "$0")
EOF
)

for needed in cmd.sh path.sh utils/parse_options.sh utils/stages.sh; do
    if [ ! -e "${needed}" ]; then
        echo "part.sh: error: ${needed} is missing; run this from a recipe's directory (egs2/CORPUS/part)" >&2
        exit 1
    fi
done
run_args=$(printf '%q ' "$0" "$@")
# shellcheck source=utils/parse_options.sh
. utils/parse_options.sh
# shellcheck source=utils/stages.sh
. utils/stages.sh
if [ $# -ne 0 ]; then
    die "no positional arguments are expected: $*"
fi
# shellcheck source=path.sh
. ./path.sh
# shellcheck source=cmd.sh
. ./cmd.sh

check_options seed
[ -d "${part_config}" ] || die "--part_config ${part_config}: no such directory"
[ -n "${model_config}" ] || die "--model_config is needed: the model's YAML file"
[ -f "${model_config}" ] || die "--model_config ${model_config}: no such file"
[ -z "${decode_config}" ] || [ -f "${decode_config}" ] || die "--decode_config ${decode_config}: no such file"
[ -z "${score_config}" ] || [ -f "${score_config}" ] || die "--score_config ${score_config}: no such file"
stages=()
for n in 1 2 3; do
    if [ -f "${part_config}/stage${n}.yaml" ]; then stages+=("${n}"); fi
done
[ ${#stages[@]} -gt 0 ] || die "--part_config ${part_config}: has none of stage1.yaml, stage2.yaml, stage3.yaml"

: "${part_tag:=$(basename -- "$(realpath -s -- "${part_config}")")}"
if [ "${part_tag}" = stage ]; then part_tag=part; fi # conf/stage, which all recipes share
: "${main_tag:=${part_tag}}"
read -r -a train_words <<<"${train_cmd}"
read -r -a decode_words <<<"${decode_cmd}"
read -r -a cuda_words <<<"${cuda_cmd}"
read -r -a tests <<<"${test_sets}"

part_exp="${expdir}/${part_tag}"
times_file="${part_exp}/stage_times.jsonl"
data_feats="${dumpdir}/raw"
model_name=$(basename -- "${model_config%.*}")
part_stats="${expdir}/part_stats_${model_name}" # token counts are those of the model's tokenizer
encoder_feats="${dumpdir}/encoder_${model_name}"
decode_tag="decode_greedy"
if [ -n "${decode_config}" ]; then
    decode_tag=$(basename -- "${decode_config%.*}")
    [[ "${decode_tag}" == decode* ]] || decode_tag="decode_${decode_tag}"
fi
if [ "${inference_model}" != valid.acc.ave.safetensors ]; then
    decode_tag+="_${inference_model%.safetensors}"
fi
decode_dir="${part_exp}/${decode_tag}"
last_exp="${part_exp}/stage${stages[-1]}"
mkdir -p "${dumpdir}/.done" "${part_exp}/.done" "${expdir}/.done"

# One run at a time in an experiment: two would write into the same checkpoints. The lock is held by
# this script and by what it starts, so a training that outlived its script holds it too.
if command -v flock >/dev/null; then
    exec 9>>"${part_exp}/.lock"
    flock -n 9 || die "another run is at work in ${part_exp} (or a training that it left behind)"
fi

# ---------------------------------------------------------------------------------------------------
resolved() { # YAML ...: their contents with what they inherit through `base`
    "${python}" - "$@" <<'EOF'
import json, sys
from espnet_part.config import load_yaml
from espnet_part.errors import UserError
try:
    print(json.dumps([load_yaml(path) for path in sys.argv[1:]], sort_keys=True, default=str))
except UserError as error:
    sys.exit(f"part.sh: error: {error}")
EOF
}

marker_of() { # STAGE
    case "$1" in
        1 | 2 | 3) echo "${dumpdir}/.done/stage$1" ;;
        4) echo "${expdir}/.done/stage4_${model_name}" ;;
        5) echo "${part_stats}/.done" ;;
        6) echo "${encoder_feats}/.done" ;;
        10 | 11 | 12) echo "${part_exp}/.done/stage$1_${decode_tag}" ;;
        *) echo "${part_exp}/.done/stage$1" ;;
    esac
}

# ---------------------------------------------------------------------------------------------------
config_key=$(resolved "${model_config}") || exit 1
prompts_file=$("${python}" -c '
import json, sys
print(json.loads(sys.argv[1])[0].get("prompts") or "")' "${config_key}")
if [ -n "${prompts_file}" ] && [ -f "${prompts_file}" ]; then
    config_key+=$(cat -- "${prompts_file}")
fi

if ! "${skip_data_prep}"; then
    # for baseline.sh, which takes the same sets
    sets=$(printf '%s\n' "${train_set}" "${valid_set}" "${test_sets}")
    if [ "$(cat "${dumpdir}/.done/sets" 2>/dev/null || true)" != "${sets}" ]; then
        printf '%s\n' "${sets}" >"${dumpdir}/.done/sets"
    fi

    key=$({
        printf '%s\n' "data" "${local_data_opts}" "${train_set}" "${valid_set}" "${test_sets}"
        cat local/data.sh 2>/dev/null || true
    } | digest)
    if begin 1 "data preparation" "${key}"; then
        [ -x local/data.sh ] || die "local/data.sh is missing or cannot be executed"
        split_words "${local_data_opts}"
        local/data.sh ${words[@]+"${words[@]}"} || die "stage 1 (local/data.sh) failed"
        for dset in "${train_set}" "${valid_set}" "${tests[@]}"; do
            [ -d "data/${dset}" ] || die "stage 1: local/data.sh did not make data/${dset}"
        done
        finish
    fi

    key=$({
        printf '%s\n' "format" "${audio_format}" "${max_bad_share}"
        after 1
    } | digest)
    if begin 2 "format audio" "${key}"; then
        for dset in "${train_set}" "${valid_set}" "${tests[@]}"; do
            # training and validation sets are filtered next; test sets are used whole
            org=
            if [ "${dset}" = "${train_set}" ] || [ "${dset}" = "${valid_set}" ]; then org=/org; fi
            run_job "${data_feats}${org}/logs/format_${dset}.log" \
                "${python}" -m espnet_part.bin.part_format_data \
                --in_dir "data/${dset}" --out_dir "${data_feats}${org}/${dset}" \
                --audio_format "${audio_format}" --nj "${nj}" \
                --max_bad_share "${max_bad_share}"
        done
        finish
    fi

    key=$({
        printf '%s\n' "filter" "${min_wav_duration}" "${max_wav_duration}" "${max_text_chars}" "${filter_args}"
        printf '%s\n' "${train_text_normalizer}"
        after 2
    } | digest)
    if begin 3 "filter" "${key}"; then
        split_words "${filter_args}"
        for dset in "${train_set}" "${valid_set}"; do
            run_job "${data_feats}/logs/filter_${dset}.log" \
                "${python}" -m espnet_part.bin.part_filter_data \
                --in_dir "${data_feats}/org/${dset}" --out_dir "${data_feats}/${dset}" \
                --min_wav_duration "${min_wav_duration}" --max_wav_duration "${max_wav_duration}" \
                --max_text_chars "${max_text_chars}" \
                --text_normalizer "${train_text_normalizer}" ${words[@]+"${words[@]}"}
            log "${dset}: $(wc -l <"${data_feats}/${dset}/text") of" \
                "$(wc -l <"${data_feats}/org/${dset}/text") examples are kept"
        done
        finish
    fi

    key=$({
        printf '%s\n' "base models" "${local_base_models_opts}" "${config_key}"
        if [ -e local/base_models.sh ]; then
            cat local/base_models.sh
            cat conf/base_models.yaml 2>/dev/null || true
            after 1
        fi
    } | digest)
    if begin 4 "base models" "${key}"; then
        if [ -e local/base_models.sh ]; then
            split_words "${local_base_models_opts}"
            local/base_models.sh ${words[@]+"${words[@]}"} || die "stage 4 (local/base_models.sh) failed"
        else
            "${python}" utils/fetch_base_models.py "${model_config}" || die "stage 4 (base models) failed"
        fi
        finish
    fi

    key=$({
        printf '%s\n' "statistics" "${config_key}"
        after 3 4
    } | digest)
    if begin 5 "statistics and mixture table" "${key}"; then
        for dset in "${train_set}" "${valid_set}"; do
            run_job "${part_stats}/logs/${dset}.log" \
                "${python}" -m espnet_part.bin.part_collect_stats \
                --data_dir "${data_feats}/${dset}" --model_config "${model_config}" \
                --out_dir "${part_stats}/${dset}"
        done
        cat "${part_stats}/${train_set}/mixture.md"
        finish
    fi

    if "${cache_features}"; then
        key=$({
            printf '%s\n' "features" "${config_key}" "${extract_args}"
            after 3 4
        } | digest)
        if begin 6 "encoder features" "${key}"; then
            split_words "${extract_args}"
            for dset in "${train_set}" "${valid_set}"; do
                logfile="${encoder_feats}/logs/${dset}.log"
                mkdir -p "$(dirname -- "${logfile}")"
                watch "${logfile}"
                "${cuda_words[@]}" --gpu "$((ngpu > 0 ? 1 : 0))" "${logfile}" \
                    "${python}" -m espnet_part.bin.part_extract_features \
                    --data_dir "${data_feats}/${dset}" --model_config "${model_config}" \
                    --out_dir "${encoder_feats}/${dset}" --ngpu "$((ngpu > 0 ? 1 : 0))" \
                    ${words[@]+"${words[@]}"} || failed "${logfile}"
                unwatch
            done
            finish
        fi
    elif [ "${stage}" -le 6 ] && [ "${stop_stage}" -ge 6 ]; then
        log "Stage 6: encoder features: not asked for (--cache_features true does)"
    fi
else
    log "Skip data preparation (stages 1-6)"
fi

# ---------------------------------------------------------------------------------------------------
train_stage() { # N: PART stage N, which is recipe stage N + 6
    local n="$1" dir="${part_exp}/stage$1" config="${part_config}/stage$1.yaml"
    local initial="$2" options=() before
    if [ ! -f "${config}" ]; then
        if [ "$((n + 6))" -ge "${stage}" ] && [ "$((n + 6))" -le "${stop_stage}" ]; then
            log "Stage $((n + 6)): PART stage ${n}: not part of ${part_config}"
        fi
        return
    fi
    local stage_config
    stage_config=$(resolved "${config}") || exit 1
    before=(3 4 5)
    if "${cache_features}" && [ "${n}" -eq 1 ]; then before+=(6); fi
    if [ -n "${initial}" ]; then before+=("$((${initial##*stage} + 6))"); fi
    local key
    key=$({
        printf '%s\n' "train ${n}" "${config_key}" "${stage_config}" "${part_args}" "${seed}"
        printf '%s\n' "${train_set}" "${valid_set}" "${initial}"
        after "${before[@]}"
    } | digest)
    begin "$((n + 6))" "PART stage ${n}" "${key}" || return 0

    for dset in "${train_set}" "${valid_set}"; do
        [ -d "${data_feats}/${dset}" ] || die "${data_feats}/${dset} is missing; run stages 1-3 first"
    done
    if [ -n "${initial}" ]; then
        [ -e "${initial}/valid.acc.ave.safetensors" ] ||
            die "${initial}/valid.acc.ave.safetensors is missing; run the stage before first"
        options+=(--part_init "${initial}/valid.acc.ave.safetensors")
    fi
    # without stage 5, the training counts the tokens itself
    if [ -f "$(marker_of 5)" ]; then
        options+=(--train_shape_file "${part_stats}/${train_set}/text_tokens")
        options+=(--valid_shape_file "${part_stats}/${valid_set}/text_tokens")
    fi
    if "${cache_features}" && [ "${n}" -eq 1 ]; then
        options+=(--train_feats_dir "${encoder_feats}/${train_set}")
        options+=(--valid_feats_dir "${encoder_feats}/${valid_set}")
    fi
    split_words "${part_args}"
    options+=(${words[@]+"${words[@]}"})

    # An interrupted training of the same options goes on; anything else there is moved aside.
    if [ -e "${dir}" ]; then
        if [ -f "${current_marker}" ] || [ "$(cat "${dir}/.key" 2>/dev/null || true)" != "${key}" ]; then
            local old
            old="${dir}.old.$(date +%Y%m%d-%H%M%S)"
            mv "${dir}" "${old}"
            log "the earlier training is kept in ${old}; delete it when it is not needed"
        else
            log "going on with the interrupted training in ${dir}"
        fi
    fi
    rm -f "${current_marker}"
    mkdir -p "${dir}"
    printf '%s\n' "${key}" >"${dir}/.key.tmp"
    mv "${dir}/.key.tmp" "${dir}/.key"

    # How to run this stage again
    printf '#!/usr/bin/env bash\ncd %q\n%s --stage %d --stop_stage %d "$@"\n' \
        "${PWD}" "${run_args}" "$((n + 6))" "$((n + 6))" >"${dir}/run.sh"
    chmod +x "${dir}/run.sh"

    launch_training "${dir}" "${part_tag}_stage${n}" espnet_part.bin.part_train \
        --config "${config}" \
        --model_config "${model_config}" \
        --train_data_dir "${data_feats}/${train_set}" \
        --valid_data_dir "${data_feats}/${valid_set}" \
        --seed "${seed}" \
        --resume true \
        --output_dir "${dir}" \
        ${options[@]+"${options[@]}"}
    finish
}

previous_of() { # N: the experiment of the stage that stage N starts from
    local n found=
    for n in "${stages[@]}"; do
        if [ "${n}" -lt "$1" ]; then found="${part_exp}/stage${n}"; fi
    done
    echo "${found}"
}

if ! "${skip_train}"; then
    for n in 1 2 3; do
        train_stage "${n}" "$(previous_of "${n}")"
    done
else
    log "Skip training (stages 7-9)"
fi

# ---------------------------------------------------------------------------------------------------
if ! "${skip_eval}"; then
    decode_key=
    if [ -n "${decode_config}" ]; then decode_key=$(resolved "${decode_config}") || exit 1; fi
    key=$({
        printf '%s\n' "decode" "${decode_key}" "${inference_model}" "${inference_args}" "${test_sets}"
        printf '%s\n' "${config_key}"
        after 2 "$((stages[-1] + 6))"
    } | digest)
    if begin 10 "decoding" "${key}"; then
        [ -e "${last_exp}/${inference_model}" ] ||
            die "${last_exp}/${inference_model} is missing; run the training first"
        options=()
        if [ -n "${decode_config}" ]; then options+=(--config "${decode_config}"); fi
        if [ -n "${inference_batch_size}" ]; then options+=(--batch_size "${inference_batch_size}"); fi
        split_words "${inference_args}"
        options+=(${words[@]+"${words[@]}"})
        if "${gpu_inference}"; then
            launcher=("${cuda_words[@]}" --gpu 1)
            options+=(--ngpu 1)
        else
            launcher=("${decode_words[@]}" --gpu 0)
            options+=(--ngpu 0)
        fi
        # A finished decoding is done anew, an interrupted one goes on: where there is no marker, the
        # key of each test set says whether what is there is of this decoding.
        if [ -f "${current_marker}" ]; then
            for dset in "${tests[@]}"; do rm -f "${decode_dir}/${dset}/logdir/.key"; done
            rm -f "${current_marker}"
        fi
        for dset in "${tests[@]}"; do
            data="${data_feats}/${dset}"
            dir="${decode_dir}/${dset}"
            logdir="${dir}/logdir"
            [ -f "${data}/text" ] || die "${data}/text is missing; run stages 1-3 first"
            total=$(wc -l <"${data}/text")
            _nj=$((inference_nj < total ? inference_nj : total))
            # What an interrupted decoding of the same kind wrote is kept.
            if [ "$(cat "${logdir}/.key" 2>/dev/null || true)" != "${key} ${_nj}" ]; then
                rm -rf "${logdir}"
            fi
            mkdir -p "${logdir}"
            # Dealt out like cards: long and short utterances, and the tasks, come to each job alike.
            awk -v nj="${_nj}" -v dir="${logdir}" \
                '{ print $1 > (dir "/keys." ((NR - 1) % nj + 1) ".scp") }' "${data}/text"
            printf '%s\n' "${key} ${_nj}" >"${logdir}/.key.tmp"
            mv "${logdir}/.key.tmp" "${logdir}/.key"

            log "decoding ${dset} (${total} examples) in ${_nj} jobs; log: ${logdir}/inference.*.log"
            logs=()
            for ((j = 1; j <= _nj; j++)); do logs+=("${logdir}/inference.${j}.log"); done
            watch "${logs[@]}"
            "${launcher[@]}" JOB=1:"${_nj}" "${logdir}/inference.JOB.log" \
                "${python}" -m espnet_part.bin.part_inference \
                --part_train_config "${last_exp}/config.yaml" \
                --part_model_file "${last_exp}/${inference_model}" \
                --data_dir "${data}" \
                --key_file "${logdir}/keys.JOB.scp" \
                --output_dir "${logdir}/output.JOB" \
                --num_threads 1 \
                "${options[@]}" || failed "${logs[@]}"
            unwatch

            for file in text token token_int score; do
                if [ -f "${logdir}/output.1/1best_recog/${file}" ]; then
                    for ((j = 1; j <= _nj; j++)); do
                        cat "${logdir}/output.${j}/1best_recog/${file}"
                    done | sort -k1,1 >"${dir}/${file}.tmp"
                    mv "${dir}/${file}.tmp" "${dir}/${file}"
                fi
            done
            decoded=$(wc -l <"${dir}/text")
            if [ "${decoded}" -ne "${total}" ]; then
                log "warning: ${dset}: $((total - decoded)) of ${total} examples could not be decoded;" \
                    "they are named in ${logdir}/output.*/failed.tsv"
            fi
        done
        finish
    fi

    if [ -z "${score_config}" ] && [ -f conf/score.yaml ]; then score_config=conf/score.yaml; fi
    score_key=
    if [ -n "${score_config}" ]; then score_key=$(resolved "${score_config}") || exit 1; fi
    key=$({
        printf '%s\n' "score" "${main_tag}" "${report_title}" "${score_key}"
        after 10
    } | digest)
    if begin 11 "scoring" "${key}"; then
        for dset in "${tests[@]}"; do
            [ -d "${decode_dir}/${dset}/logdir" ] || die "${decode_dir}/${dset} is missing; run stage 10 first"
            options=(--checkpoint "${last_exp}/${inference_model}")
            if [ -n "${score_config}" ]; then options+=(--config "${score_config}"); fi
            # lengths of the formatted audio show outputs that are longer than the speech
            lengths="${data_feats}/${dset}/utt2num_samples"
            if [ -f "${lengths}" ]; then options+=(--utt2num_samples "${lengths}"); fi
            # The references of stage 1: an utterance whose audio stage 2 could not use counts as missing.
            "${python}" -m espnet_part.bin.part_score --ref_dir "data/${dset}" \
                --hyp_dir "${decode_dir}/${dset}" --name "${part_tag}" \
                "${options[@]}" >"${decode_dir}/${dset}/score.log" ||
                die "stage 11 (scoring of ${dset}) failed"
        done
        record_time
        printf '%s\n' "${main_tag}" "${decode_tag}" "${report_title}" >"${expdir}/.done/report"
        utils/report.sh "${python}" "${expdir}" >"${part_exp}/report.log" || die "stage 11 (report) failed"
        finish timed
        cat "${expdir}/RESULTS.md"
        log "written:"
        sed 's/^/  /' "${part_exp}/report.log"
    fi
else
    log "Skip evaluation (stages 10-11)"
fi

# ---------------------------------------------------------------------------------------------------
if ! "${skip_packing}"; then
    key=$({
        printf '%s\n' "pack" "${with_base_models}" "${inference_model}" "${hf_repo}" "${pack_args}"
        after "$((stages[-1] + 6))" 11
    } | digest)
    if begin 12 "packing" "${key}"; then
        archive="${part_exp}/${part_tag}_${inference_model%.safetensors}.zip"
        options=()
        if [ -f "${expdir}/RESULTS.md" ]; then options+=(--results "${expdir}/RESULTS.md"); fi
        if [ -d "${decode_dir}" ]; then options+=(--result_dir "${decode_dir}"); fi
        if [ -n "${decode_config}" ]; then options+=(--decode_config "${decode_config}"); fi
        if [ -z "${score_config}" ] && [ -f conf/score.yaml ]; then score_config=conf/score.yaml; fi
        if [ -n "${score_config}" ]; then options+=(--score_config "${score_config}"); fi
        corpus="data/${train_set}/corpus.json"
        if [ -f "${corpus}" ]; then options+=(--corpus_info "${corpus}"); fi
        if [ -n "${hf_repo}" ]; then options+=(--hf_repo "${hf_repo}"); fi
        split_words "${pack_args}"
        "${python}" -m espnet_part.bin.part_pack \
            --part_train_config "${last_exp}/config.yaml" \
            --part_model_file "${last_exp}/${inference_model}" \
            --outpath "${archive}" \
            --with_base_models "${with_base_models}" \
            ${options[@]+"${options[@]}"} ${words[@]+"${words[@]}"} || die "stage 12 (packing) failed"
        log "packed: ${archive}; Speech2Text.from_pretrained(\"${archive}\") loads it"
        finish
    fi
elif [ "${stop_stage}" -ge 12 ]; then
    log "Skip packing (stage 12; --skip_packing false makes one file that others can load)"
fi

if [ ${#done_stages[@]} -gt 0 ]; then
    log "stages that were done already: ${done_stages[*]} (--stage N runs them again)"
fi
if [ -f "${expdir}/RESULTS.md" ]; then
    log "results: ${expdir}/RESULTS.md, ${expdir}/results.json, ${expdir}/figures"
fi
log "Successfully finished. [elapsed=$((SECONDS - start_seconds))s]"
