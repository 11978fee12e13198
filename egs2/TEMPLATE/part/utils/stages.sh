# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by part.sh and baseline.sh: stages that are not run again when they are done, and jobs with
# log files. The script that sources it has the options of part.sh (python, nj, stage …), the
# launchers' words (train_words, cuda_words), times_file, and a function marker_of STAGE.

log() { # MESSAGE, with the time and the line of the script that is at work
    echo -e "$(date '+%Y-%m-%dT%H:%M:%S') (${0##*/}:${BASH_LINENO[-2]}:${FUNCNAME[1]}) $*"
}

die() { # MESSAGE: end with one clear line
    echo "${0##*/}: error: $*" >&2
    exit 1
}

# shellcheck source=utils/words.sh
. utils/words.sh

check_options() { # NAME ...: more options that are numbers. Sets `force`; python and launchers must be there
    local name
    force=false
    if [ -n "${stage}" ]; then force=true; else stage=1; fi
    for name in stage stop_stage ngpu num_nodes num_threads nj inference_nj "$@"; do
        [[ "${!name}" =~ ^[0-9]+$ ]] || die "--${name} must be a number: ${!name}"
    done
    for name in num_nodes num_threads nj inference_nj; do
        [ "${!name}" -ge 1 ] || die "--${name} must be at least 1: ${!name}"
    done
    command -v "${python}" >/dev/null || die "--python ${python}: no such command"
    "${python}" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("espnet_part") is None)' ||
        die "${python} has no espnet_part; run tools/setup.sh, or activate the environment that has it"
    for name in "${train_cmd}" "${cuda_cmd}" "${decode_cmd}"; do
        command -v "${name%% *}" >/dev/null ||
            die "cmd.sh names ${name%% *}, which is not on PATH (cmd_backend=${cmd_backend:-}); with" \
                "MAIN_ROOT naming an ESPnet checkout, its launchers are found"
    done
}

# What is done. A stage's marker holds a key, which is a hash of the options and files that the result
# depends on and of the markers of the stages before it, and a run id that is new each time.

after() { # STAGE ...: the contents of their markers
    local number
    for number in "$@"; do
        cat "$(marker_of "${number}")" 2>/dev/null || echo "stage ${number} not run"
    done
}

digest() { sha256sum | cut -d ' ' -f 1; }

done_stages=()
begin() { # NUMBER NAME KEY: false when the stage is done or not asked for
    current_stage="$1" current_name="$2" current_key="$3"
    current_marker=$(marker_of "$1")
    if [ "$1" -lt "${stage}" ] || [ "$1" -gt "${stop_stage}" ]; then
        return 1
    fi
    if ! "${force}" && [ -f "${current_marker}" ] && [ "$(head -n 1 "${current_marker}")" = "$3" ]; then
        log "Stage $1: $2: already done"
        done_stages+=("$1")
        return 1
    fi
    log "Stage $1: $2"
    current_start=$(date +%s.%N)
    mkdir -p "$(dirname -- "${current_marker}")"
}

record_time() {
    "${python}" - "${times_file}" "${current_stage}" "${current_name}" "${current_start}" <<'EOF'
import json, sys, time
path, stage, name, start = sys.argv[1:]
line = {"stage": int(stage), "name": name, "seconds": round(time.time() - float(start), 1)}
with open(path, "a", encoding="utf-8") as file:
    file.write(json.dumps(line) + "\n")
EOF
}

finish() { # mark the current stage as done
    [ "${1:-}" = timed ] || record_time
    printf '%s\n' "${current_key}" "$(date +%s.%N)-$$" >"${current_marker}.tmp"
    mv "${current_marker}.tmp" "${current_marker}"
}

# Jobs: their output goes to log files, their progress to the terminal, and a failure shows the log.

watcher=
unwatch() {
    if [ -n "${watcher}" ]; then
        kill "${watcher}" 2>/dev/null || true
        wait "${watcher}" 2>/dev/null || true
        watcher=
    fi
}
trap unwatch EXIT

watch() { # LOG ...
    "${python}" utils/show_progress.py "$@" 9>&- &
    watcher=$!
}

failed() { # LOG ...: say which one failed and show its end
    local file first=
    unwatch
    for file in "$@"; do
        if [ -f "${file}" ] && ! tail -n 1 "${file}" | grep -q '^# Ended (code 0)'; then
            first="${file}"
            break
        fi
    done
    if [ -n "${first}" ]; then
        echo "---------- the end of ${first}:" >&2
        tail -n 20 -- "${first}" | cut -c 1-500 >&2
        echo "----------" >&2
    fi
    die "stage ${current_stage} (${current_name}) failed;" \
        "${first:+see ${first}; }once it is mended, the same command goes on from here"
}

run_job() { # LOG COMMAND ...: one job through the launcher of data preparation
    local logfile="$1"
    shift
    mkdir -p "$(dirname -- "${logfile}")"
    watch "${logfile}"
    "${train_words[@]}" --num_threads "${nj}" "${logfile}" "$@" || failed "${logfile}"
    unwatch
}

launch_training() { # DIRECTORY NAME MODULE OPTION ...: a training on all GPUs and machines
    local dir="$1" title="$2" module="$3" job_name=() launch=()
    shift 3
    # run.pl has no job names
    if [ "$(basename -- "${cuda_words[0]}")" != run.pl ]; then job_name=(--name "${title}"); fi
    if [ -n "${master_port}" ]; then launch+=(--master_port "${master_port}"); fi
    if [ -n "${master_addr}" ]; then launch+=(--master_addr "${master_addr}"); fi
    log "training started; log: ${dir}/train.log"
    watch "${dir}/train.log"
    "${python}" -m espnet2.bin.launch \
        --cmd "$(printf '%q ' "${cuda_words[@]}" ${job_name[@]+"${job_name[@]}"})" \
        --log "${dir}/train.log" \
        --ngpu "${ngpu}" \
        --num_nodes "${num_nodes}" \
        --init_file_prefix "${dir}/.dist_init_" \
        --multiprocessing_distributed true \
        ${launch[@]+"${launch[@]}"} -- \
        env OMP_NUM_THREADS="${num_threads}" "${python}" -m "${module}" "$@" \
        >"${dir}/launch.log" 2>&1 || failed "${dir}/train.log" "${dir}/launch.log"
    unwatch
}
