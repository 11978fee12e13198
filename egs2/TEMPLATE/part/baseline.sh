#!/usr/bin/env bash
# shellcheck disable=SC2016,SC2034,SC2119
# Trains, decodes and scores stock ESPnet models on a recipe's dump directories; see --help. Called
# from the recipe's directory.
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
stop_stage=7         # Last stage to run.
tasks=               # Baselines: asr, st; by default those that the training set has data for.
ngpu=1               # Number of GPUs a node for training (0: CPU).
num_nodes=1          # Number of nodes for training.
num_threads=1        # Number of CPU threads of each training process.
nj=4                 # Number of parallel jobs for the statistics.
inference_nj=4       # Number of parallel jobs in decoding.
gpu_inference=false  # Whether decoding uses GPUs, one a job.
dumpdir=dump         # Directory of formatted data, as part.sh made it.
expdir=exp           # Directory of experiments.
python=python3       # Python of the environment.

# Data
train_set=           # Name of the training set; by default that of part.sh's last run.
valid_set=           # Name of the validation set; likewise.
test_sets=           # Names of the test sets, separated by spaces; likewise.
extra_asr_dirs=      # More data directories whose ASR examples the ASR model trains on.
nbpe=10000           # Number of subwords; one vocabulary for both tasks and all languages.
bpe_char_cover=0.9995  # Share of each language's characters covered by the subwords; the others are unknown.

# Models
asr_config=conf/baseline_espnet/train_asr.yaml        # Training of espnet2.bin.asr_train.
st_config=conf/baseline_espnet/train_st.yaml          # Training of espnet2.bin.st_train.
asr_args=            # More options for espnet2.bin.asr_train.
st_args=             # More options for espnet2.bin.st_train.
feats_normalize=global_mvn  # Normalisation of the features: global_mvn or utterance_mvn.
asr_tag=espnet_asr   # Name of the ASR experiment, and of its row in RESULTS.md.
st_tag=espnet_st     # Name of the ST experiment, and of its row in RESULTS.md.
st_init="encoder ctc"  # Parts that the ST model takes from the ASR model; "none": trained from scratch.
seed=0               # Seed of the trainings.
master_port=         # Port for trainings on several nodes; by default a shared file is used.
master_addr=         # Host of rank 0, with master_port; Slurm finds it by itself.

# Decoding
asr_decode_config=conf/baseline_espnet/decode_asr.yaml  # Options of espnet2.bin.asr_inference.
st_decode_config=conf/baseline_espnet/decode_st.yaml    # Options of espnet2.bin.st_inference.
inference_model=valid.acc.ave.pth                       # Weights to decode with.
score_config=        # Settings of scoring (YAML); by default conf/score.yaml, if there. Give part.sh's.
force_language=true  # Whether the model is told the language to write, as PART is; or guesses it.

help_message=$(
    cat <<EOF
Usage: $0 [options]

Trains ESPnet's own ASR and ST models (espnet2.bin.asr_train, st_train) on the data that part.sh has
formatted, decodes with asr_inference and st_inference, and scores them exactly like PART; RESULTS.md
then has their rows. Run part.sh up to stage 3 first.

Stages:
   1  select each task's examples from <dumpdir>/raw     5  ST training
   2  subwords and token list                            6  decoding
   3  statistics (collect_stats)                         7  scoring and report
   4  ASR training

A stage that is done is not run again unless its options, its configuration or a stage before it
changed. --stage N [--stop_stage M] runs stages N to M again. A killed command goes on where it was
when it is typed again (a training from its last finished epoch).

Options (with their defaults):
$(option_list='
    /^# (General|Data|Models|Decoding)/ { printf "  %s\n", $0; on = 1; next }
    /^help_message/ { exit }
    on && /^[a-z_]+=/ {
        eq = index($0, "="); hash = index($0, " # ")
        value = substr($0, eq + 1, hash - eq - 1); gsub(/^[ "]+|[ "]+$/, "", value)
        printf "    --%-20s %s%s\n", substr($0, 1, eq - 1), substr($0, hash + 3), \
            (value == "" ? "" : " [" value "]")
    }'
    awk "${option_list}" "${BASH_SOURCE[0]}")
EOF
)

for needed in cmd.sh path.sh utils/parse_options.sh utils/stages.sh; do
    if [ ! -e "${needed}" ]; then
        echo "baseline.sh: error: ${needed} is missing; run this from a recipe's directory" >&2
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

check_options nbpe seed

# The sets of part.sh's last run
if [ -f "${dumpdir}/.done/sets" ]; then
    mapfile -t sets <"${dumpdir}/.done/sets"
else
    sets=(train valid test)
fi
: "${train_set:=${sets[0]}}" "${valid_set:=${sets[1]}}" "${test_sets:=${sets[2]}}"
read -r -a tests <<<"${test_sets}"
raw="${dumpdir}/raw"
for dset in "${train_set}" "${valid_set}" "${tests[@]}"; do
    [ -f "${raw}/${dset}/utt2task" ] || die "${raw}/${dset} is missing; run stages 1 to 3 of the recipe first" \
        "(./run.sh --stop_stage 3), or name the sets by --train_set, --valid_set, --test_sets"
done
available=()
declare -A task_of=([asr]=asr [st]=s2tt)
for task in asr st; do
    if grep -q " ${task_of[${task}]}\$" "${raw}/${train_set}/utt2task"; then available+=("${task}"); fi
done
read -r -a asked <<<"${tasks:-${available[*]}}"
[ ${#asked[@]} -gt 0 ] || die "${raw}/${train_set} has examples neither of asr nor of s2tt"
for task in "${asked[@]}"; do
    [[ "${task}" =~ ^(asr|st)$ ]] || die "--tasks must be of asr, st: ${task}"
    [[ " ${available[*]} " == *" ${task} "* ]] ||
        die "--tasks ${task}: ${raw}/${train_set} has no example of the task ${task_of[${task}]}"
    for kind in config decode_config; do
        name="${task}_${kind}"
        [ -f "${!name}" ] || die "--${name} ${!name}: no such file"
    done
done
if [ "${st_init}" = none ]; then st_init=; fi
for part in ${st_init}; do
    [[ "${part}" =~ ^(encoder|ctc|decoder)$ ]] || die "--st_init must be of encoder, ctc, decoder: ${part}"
done

[ -z "${score_config}" ] || [ -f "${score_config}" ] || die "--score_config ${score_config}: no such file"
if [ -z "${score_config}" ] && [ -f conf/score.yaml ]; then score_config=conf/score.yaml; fi

read -r -a train_words <<<"${train_cmd}"
read -r -a decode_words <<<"${decode_cmd}"
read -r -a cuda_words <<<"${cuda_cmd}"
declare -A exp_of=([asr]="${expdir}/${asr_tag}" [st]="${expdir}/${st_tag}")
data="${dumpdir}/espnet"                # what the stock tasks read
tokens="${data}/tokens_bpe${nbpe}"
times_file="${data}/stage_times.jsonl"
mkdir -p "${data}" "${expdir}/.done"
if command -v flock >/dev/null; then
    exec 9>>"${data}/.lock"
    flock -n 9 || die "another baseline.sh is at work in ${data} (or a training that it left behind)"
fi

marker_of() { # STAGE: that of the current task where the stage is run for each
    case "$1" in
        1) echo "${data}/${task}/.done" ;;
        2) echo "${tokens}/.done" ;;
        3) echo "${exp_of[${task}]}/stats/.done" ;;
        4) echo "${exp_of[asr]}/.done_training" ;;
        5) echo "${exp_of[st]}/.done_training" ;;
        6 | 7) echo "${decode_dir}/.done_stage$1" ;;
    esac
}

decode_tag_of() { # TASK
    local config="${1}_decode_config" tag
    tag=$(basename -- "${!config%.*}")
    if [[ "${tag}" != decode* ]]; then tag="decode_${tag}"; fi
    if [ "${inference_model}" != valid.acc.ave.pth ]; then tag+="_${inference_model%.pth}"; fi
    echo "${tag}"
}

# ---------------------------------------------------------------------------------------------------
select_examples() { # NAME DIR [DIR ...] [OPTION]: into <data>/<task>/NAME
    local name="$1"
    shift
    run_job "${data}/logs/select_${task}_${name//\//_}.log" \
        "${python}" -m espnet_part.baseline.directories --task "${task}" --in_dir "$@" \
        --out_dir "${data}/${task}/${name}" --formatted_dir "${data}/audio" --nj "${nj}"
    log "${data}/${task}/${name}: $(cat "${data}/${task}/${name}/summary.txt")"
}

for task in "${available[@]}"; do
    extra=
    if [ "${task}" = asr ]; then extra="${extra_asr_dirs}"; fi
    key=$({
        printf '%s\n' "select" "${task}" "${train_set}" "${valid_set}" "${test_sets}" "${extra}"
        for dset in "${train_set}" "${valid_set}" "${tests[@]}"; do
            cat "${raw}/${dset}"/{wav.scp,text,utt2task}
            cat "${raw}/${dset}"/{segments,src_text} 2>/dev/null || true
        done
        for dir in ${extra}; do cat "${dir}/wav.scp" "${dir}/text"; done
    } | digest)
    if begin 1 "examples for ${task}" "${key}"; then
        split_words "${extra}"
        select_examples "${train_set}" "${raw}/${train_set}" ${words[@]+"${words[@]}"}
        select_examples "${valid_set}" "${raw}/${valid_set}"
        for dset in "${tests[@]}"; do
            if grep -q " ${task_of[${task}]}\$" "${raw}/${dset}/utt2task"; then
                select_examples "test/${dset}" "${raw}/${dset}" --decoding
            else
                rm -rf "${data:?}/${task}/test/${dset}"
                log "${dset} has nothing for ${task}"
            fi
        done
        finish
    fi
done

key=$({
    printf '%s\n' "tokens" "${nbpe}" "${bpe_char_cover}"
    for task in "${available[@]}"; do after 1; done
} | digest)
if begin 2 "subwords" "${key}"; then
    texts=()
    for task in "${available[@]}"; do texts+=("${data}/${task}/${train_set}/text"); done
    "${python}" -m espnet_part.baseline.tokens --nbpe "${nbpe}" --bpe_char_cover "${bpe_char_cover}" \
        --out_dir "${tokens}" "${texts[@]}" || die "stage 2 failed"
    finish
fi

# ---------------------------------------------------------------------------------------------------
# Options of espnet2.bin.{asr,st}_train that say what is read and how it is tokenised.
task_options() { # TASK: into the array `options`
    local dset kind config="${1}_config"
    options=(
        --config "${!config}" --seed "${seed}"
        --token_type bpe --bpemodel "${tokens}/bpe.model" --token_list "${tokens}/tokens.txt"
    )
    if [ "$1" = st ]; then
        options+=(--src_token_type bpe --src_bpemodel "${tokens}/bpe.model" --src_token_list "${tokens}/tokens.txt")
    fi
    for kind in train valid; do
        dset="${train_set}"
        if [ "${kind}" = valid ]; then dset="${valid_set}"; fi
        for table in wav.scp,speech,sound text,text,text src_text,src_text,text; do
            if [ "$1" = asr ] && [ "${table%%,*}" = src_text ]; then continue; fi
            options+=("--${kind}_data_path_and_name_and_type" "${data}/$1/${dset}/${table}")
        done
    done
}

config_of() { # TASK: its configuration and more options
    local config="${1}_config" args="${1}_args"
    cat -- "${!config}"
    printf '%s\n' "${!args}" "${seed}"
}

for task in "${asked[@]}"; do
    stats="${exp_of[${task}]}/stats"
    key=$({
        printf '%s\n' "statistics"
        config_of "${task}"
        after 1 2
    } | digest)
    if begin 3 "statistics for ${task}" "${key}"; then
        rm -rf "${stats}"
        mkdir -p "${stats}/logdir"
        args="${task}_args"
        total=$(wc -l <"${data}/${task}/${valid_set}/text")
        _nj=$((nj < total ? nj : total))
        for pair in "train ${train_set}" "valid ${valid_set}"; do
            awk -v nj="${_nj}" -v prefix="${stats}/logdir/${pair%% *}" \
                '{ print $1 > (prefix "." ((NR - 1) % nj + 1) ".scp") }' "${data}/${task}/${pair#* }/text"
        done
        task_options "${task}"
        split_words "${!args}"
        logs=()
        for ((j = 1; j <= _nj; j++)); do logs+=("${stats}/logdir/stats.${j}.log"); done
        watch "${logs[@]}"
        "${train_words[@]}" JOB=1:"${_nj}" "${stats}/logdir/stats.JOB.log" \
            "${python}" -m "espnet2.bin.${task}_train" --collect_stats true "${options[@]}" \
            --train_shape_file "${stats}/logdir/train.JOB.scp" \
            --valid_shape_file "${stats}/logdir/valid.JOB.scp" \
            --ngpu 0 --output_dir "${stats}/logdir/stats.JOB" ${words[@]+"${words[@]}"} || failed "${logs[@]}"
        unwatch
        inputs=()
        for ((j = 1; j <= _nj; j++)); do inputs+=(--input_dir "${stats}/logdir/stats.${j}"); done
        "${python}" -m espnet2.bin.aggregate_stats_dirs "${inputs[@]}" --output_dir "${stats}" \
            >"${stats}/logdir/aggregate.log" 2>&1 || failed "${stats}/logdir/aggregate.log"
        # batch_type numel counts a text's elements as length x vocabulary, as in ESPnet's recipes
        vocabulary=$(wc -l <"${tokens}/tokens.txt")
        for file in "${stats}"/{train,valid}/*text_shape; do
            awk -v n="${vocabulary}" '{ print $0 "," n }' "${file}" >"${file}.bpe"
        done
        finish
    fi
done

# ---------------------------------------------------------------------------------------------------
train_model() { # TASK [OPTION ...]
    local task="$1" dir="${exp_of[$1]}" shapes=() kind shape args="${1}_args"
    local file normalize=() folds=() stats="${dir}/stats"
    shift
    [ -f "${stats}/.done" ] || die "${stats} is missing; run stage 3 first"
    # An interrupted training of the same options goes on; anything else there is moved aside.
    if [ -e "${dir}/config.yaml" ]; then
        if [ -f "${current_marker}" ] || [ "$(cat "${dir}/.key" 2>/dev/null || true)" != "${current_key}" ]; then
            local old
            old="${dir}/old.$(date +%Y%m%d-%H%M%S)"
            mkdir "${old}"
            for file in "${dir}"/*; do
                case "${file##*/}" in stats | old.*) ;; *) mv -- "${file}" "${old}" ;; esac
            done
            log "the earlier training is kept in ${old}; delete it when it is not needed"
        else
            log "going on with the interrupted training in ${dir}"
        fi
    fi
    # ESPnet writes its checkpoint in place: one that a kill left unfinished cannot be gone on from.
    if [ -f "${dir}/checkpoint.pth" ] && ! "${python}" -c '
import sys, zipfile
sys.exit(zipfile.ZipFile(sys.argv[1]).testzip() is not None)' "${dir}/checkpoint.pth" 2>/dev/null; then
        log "${dir}/checkpoint.pth is damaged: the training begins anew"
        rm "${dir}/checkpoint.pth"
    fi
    rm -f "${current_marker}"
    printf '%s\n' "${current_key}" >"${dir}/.key.tmp"
    mv "${dir}/.key.tmp" "${dir}/.key"
    printf '#!/usr/bin/env bash\ncd %q\n%s --stage %d --stop_stage %d "$@"\n' \
        "${PWD}" "${run_args}" "${current_stage}" "${current_stage}" >"${dir}/run.sh"
    chmod +x "${dir}/run.sh"

    task_options "${task}"
    for kind in train valid; do
        for shape in speech_shape text_shape.bpe src_text_shape.bpe; do
            if [ -f "${stats}/${kind}/${shape}" ]; then
                shapes+=("--${kind}_shape_file" "${stats}/${kind}/${shape}")
            fi
        done
    done
    # of use with batch_type folded: samples of speech, tokens of each text
    folds=(--fold_length 80000 --fold_length 150)
    if [ "${task}" = st ]; then folds+=(--fold_length 150); fi
    if [ "${feats_normalize}" = global_mvn ]; then
        normalize+=(--normalize_conf "stats_file=${stats}/train/feats_stats.npz")
    fi
    split_words "${!args}"
    launch_training "${dir}" "$(basename -- "${dir}")" "espnet2.bin.${task}_train" \
        "${options[@]}" "${shapes[@]}" \
        --normalize "${feats_normalize}" ${normalize[@]+"${normalize[@]}"} \
        "${folds[@]}" \
        --resume true \
        --output_dir "${dir}" \
        "$@" ${words[@]+"${words[@]}"}
}

for task in "${asked[@]}"; do
    number=4 init=()
    if [ "${task}" = st ]; then
        number=5
        for part in ${st_init}; do init+=("${exp_of[asr]}/${inference_model}:${part}:${part}"); done
        # one option with several values: of several options ESPnet takes the last
        if [ ${#init[@]} -gt 0 ]; then init=(--init_param "${init[@]}"); fi
    fi
    key=$({
        printf '%s\n' "train" "${task}" "${init[*]}" "${feats_normalize}"
        config_of "${task}"
        after 3
        if [ ${#init[@]} -gt 0 ]; then after 4; fi
    } | digest)
    if begin "${number}" "${task^^} training" "${key}"; then
        if [ ${#init[@]} -gt 0 ] && [ ! -f "${exp_of[asr]}/.done_training" ]; then
            die "the ST model starts from the ASR model, which has not been trained; run with" \
                "--tasks \"asr st\", or with --st_init none"
        fi
        train_model "${task}" ${init[@]+"${init[@]}"}
        finish
    fi
done

# ---------------------------------------------------------------------------------------------------
decode() { # TASK SET: into <decode_dir>/SET/text
    local task="$1" dset="$2" dir="${decode_dir}/$2" logs=() launcher options=() guess=() jobs j
    local logdir="${dir}/logdir" config="${1}_decode_config"
    if [ "$(cat "${logdir}/.key" 2>/dev/null || true)" != "${current_key} ${inference_nj}" ]; then rm -rf "${logdir}"; fi
    mkdir -p "${logdir}"
    if ! "${force_language}"; then guess=(--let_it_guess); fi
    jobs=$("${python}" -m espnet_part.baseline.jobs --data_dir "${data}/${task}/test/${dset}" \
        --logdir "${logdir}" --nj "${inference_nj}" ${guess[@]+"${guess[@]}"}) || die "stage 6 failed"
    printf '%s\n' "${current_key} ${inference_nj}" >"${logdir}/.key"
    if "${gpu_inference}"; then
        launcher=("${cuda_words[@]}" --gpu 1)
        options+=(--ngpu 1)
    else
        launcher=("${decode_words[@]}" --gpu 0)
        options+=(--ngpu 0)
    fi
    log "decoding ${dset} ($(wc -l <"${data}/${task}/test/${dset}/wav.scp") utterances) for ${task} in" \
        "${jobs} jobs; log: ${logdir}/inference.*.log"
    for ((j = 1; j <= jobs; j++)); do logs+=("${logdir}/inference.${j}.log"); done
    watch "${logs[@]}"
    # a job that an interrupted decoding has finished is not done again
    "${launcher[@]}" --max-jobs-run "${inference_nj}" JOB=1:"${jobs}" "${logdir}/inference.JOB.log" \
        test -e "${logdir}/output.JOB/.done" '||' \
        "${python}" -m espnet_part.baseline.inference "${task}" "@${logdir}/language.JOB" \
        --config "${!config}" \
        --data_path_and_name_and_type "${data}/${task}/test/${dset}/wav.scp,speech,sound" \
        --key_file "${logdir}/keys.JOB.scp" \
        "--${task}_train_config" "${exp_of[${task}]}/config.yaml" \
        "--${task}_model_file" "${exp_of[${task}]}/${inference_model}" \
        --output_dir "${logdir}/output.JOB" \
        "${options[@]}" '&&' touch "${logdir}/output.JOB/.done" || failed "${logs[@]}"
    unwatch
    "${python}" -m espnet_part.baseline.hypotheses \
        --data_dir "${data}/${task}/test/${dset}" --token_dir "${tokens}" --decode_dir "${dir}" \
        --decode_config "${!config}" --told "${force_language}" || die "stage 6 failed"
}

write_note() { # TASK: what the model has seen, for the report
    local config="${1}_config" start="from scratch" told="It is told the language to write, as PART is."
    if [ "$1" = st ] && [ -n "${st_init}" ]; then start="starting from ${asr_tag}'s ${st_init// /, }"; fi
    if ! "${force_language}"; then told="It guesses the language to write."; fi
    echo "\`$(basename -- "${exp_of[$1]}")\` is stock ESPnet (\`espnet2.bin.${1}_train\`, \`${!config}\`), trained ${start}" \
        "on $(cat "${data}/$1/${train_set}/summary.txt"). ${told}"
}

report_is_old=false
for task in "${asked[@]}"; do
    decode_dir="${exp_of[${task}]}/$(decode_tag_of "${task}")"
    number=4
    if [ "${task}" = st ]; then number=5; fi
    key=$({
        printf '%s\n' "decode" "${inference_model}" "${force_language}" "${test_sets}"
        config="${task}_decode_config"
        cat -- "${!config}"
        after 1 2 "${number}"
    } | digest)
    if begin 6 "decoding for ${task}" "${key}"; then
        [ -e "${exp_of[${task}]}/${inference_model}" ] ||
            die "${exp_of[${task}]}/${inference_model} is missing; run the training first"
        if [ -f "${current_marker}" ]; then rm -f "${decode_dir}"/*/logdir/.key "${current_marker}"; fi
        for dset in "${tests[@]}"; do
            if [ -d "${data}/${task}/test/${dset}" ]; then decode "${task}" "${dset}"; fi
        done
        finish
    fi

    score_options=(--checkpoint "${exp_of[${task}]}/${inference_model}")
    if [ -n "${score_config}" ]; then score_options+=(--config "${score_config}"); fi
    key=$({
        printf '%s\n' "score"
        if [ -n "${score_config}" ]; then cat -- "${score_config}"; fi
        after 6
    } | digest)
    if begin 7 "scoring for ${task}" "${key}"; then
        for dset in "${tests[@]}"; do
            if [ ! -d "${data}/${task}/test/${dset}" ]; then continue; fi
            dir="${decode_dir}/${dset}"
            [ -f "${dir}/text" ] || die "${dir}/text is missing; run stage 6 first"
            lengths=()
            if [ -f "${raw}/${dset}/utt2num_samples" ]; then
                lengths=(--utt2num_samples "${raw}/${dset}/utt2num_samples")
            fi
            "${python}" -m espnet_part.bin.part_score --ref_dir "data/${dset}" --tasks "${task_of[${task}]}" \
                "${score_options[@]}" ${lengths[@]+"${lengths[@]}"} --hyp_text "${dir}/text" --out_dir "${dir}" \
                --name "$(basename -- "${exp_of[${task}]}")" | tee "${dir}/score.log" ||
                die "stage 7 (scoring of ${dset}) failed"
        done
        write_note "${task}" >"${exp_of[${task}]}/note.md"
        finish
    fi
    # also after a run that was killed between scoring and report
    scored=$(marker_of 7)
    if [ "${stop_stage}" -ge 7 ] && [ -f "${scored}" ] && [ ! "${expdir}/RESULTS.md" -nt "${scored}" ]; then
        report_is_old=true
    fi
done
if "${report_is_old}"; then
    utils/report.sh "${python}" "${expdir}" >"${data}/report.log" || die "stage 7 (report) failed"
    log "written:"
    sed 's/^/  /' "${data}/report.log"
fi
log "Successfully finished. [elapsed=$((SECONDS - start_seconds))s]"
