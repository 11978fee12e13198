# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by a recipe's run.sh: what run.sh does before it calls part.sh.

# shellcheck source=utils/words.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/words.sh"
# shellcheck source=utils/options.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/options.sh"
part_script=$(realpath -- "$(dirname -- "${BASH_SOURCE[0]}")/../part.sh") # wherever run.sh goes to

corpus_directories() { # VARIABLE ...: what the environment says, relative to where the command is typed
    local name
    for name in "$@"; do
        if [ -n "${!name:-}" ]; then
            printf -v "${name}" '%s' "$(realpath -m -- "${!name}")"
            export "${name?}"
        fi
    done
}

# Sets the variables NAME; what is part_script's goes into `rest`. A wrong name is found here, before
# anything is set up.
own_options() { # "NAME ..." ARGUMENT ...
    local own=" $1 " all name value
    all="${own}$(option_names "${part_script}" | tr '\n' ' ')config "
    shift
    rest=()
    data_needed=true # stage 1 alone needs the corpus; where it is skipped it may be done already
    while [ $# -gt 0 ]; do
        if [ "$1" = --help ] || [ "$1" = -h ]; then
            printf '%s\n\n' "${help_message}"
            "${part_script}" --help
            exit 0
        elif [[ "$1" != --?* ]]; then
            echo "${0##*/}: error: not an option: $1 (see $0 --help)" >&2
            exit 2
        fi
        name="${1#--}"
        name="${name%%=*}"
        name="${name//-/_}"
        if ! [[ "${name}" =~ ^[a-z][a-z0-9_]*$ && "${all}" == *" ${name} "* ]]; then
            echo "${0##*/}: error: unknown option --${name} (see $0 --help)" >&2
            exit 2
        elif [[ "$1" == *=* ]]; then
            value="${1#*=}"
            shift
        elif [ $# -ge 2 ]; then
            value="$2"
            shift 2
        else
            echo "${0##*/}: error: the option $1 needs a value" >&2
            exit 2
        fi
        if [[ "${own}" == *" ${name} "* ]]; then
            printf -v "${name}" '%s' "${value}"
        else
            case "${name}" in stage | skip_data_prep) data_needed=false ;; esac
            rest+=("--${name}" "${value}")
        fi
    done
}

all_different() { # OPTION WORD ...: at least one, and none twice
    local twice
    [ $# -gt 1 ] || die "$1 must name at least one"
    twice=$(printf '%s\n' "${@:2}" | sort | uniq -d)
    [ -z "${twice}" ] || die "$1 names ${twice%%$'\n'*} twice"
}

# From ngpu and nj: the array `decoding`. The sizes of batches are those of the stage files.
decoding_options() {
    local name
    for name in ngpu num_nodes; do
        if ! [[ "${!name}" =~ ^[0-9]+$ ]]; then
            echo "run.sh: error: --${name} must be a number: ${!name}" >&2
            exit 2
        fi
    done
    decoding=(--inference_nj "${ngpu}" --gpu_inference true)
    if [ "${ngpu}" -eq 0 ]; then decoding=(--inference_nj "${nj}"); fi
}

# Where run.sh cannot `exec` part.sh, because more comes after it: a signal to run.sh ends both.
stoppable() { # COMMAND ...
    local child status
    "$@" &
    child=$!
    # shellcheck disable=SC2064 # this child
    trap "kill -INT ${child} 2>/dev/null" INT
    # shellcheck disable=SC2064
    trap "kill -TERM ${child} 2>/dev/null" TERM HUP
    while :; do
        status=0
        wait "${child}" || status=$?
        kill -0 "${child}" 2>/dev/null || break
    done
    trap - INT TERM HUP
    return "${status}"
}
