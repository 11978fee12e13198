# shellcheck shell=bash
# Sourced by part.sh and the scripts in local/ from the recipe's directory: the Python environment,
# the launchers, and the variables that jobs need.

_part_here="$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd -P)"

# shellcheck source=../../../tools/env.sh
. "${_part_here}/../../../tools/env.sh"

PATH="${PWD}/utils:${PWD}:${PATH}"
# The launchers of an ESPnet checkout, if one is named, come before ours.
if [ -n "${MAIN_ROOT:-}" ]; then
    for _part_utils in "${MAIN_ROOT}/egs2/TEMPLATE/asr1/utils" "${MAIN_ROOT}/utils" \
        "${MAIN_ROOT}/tools/kaldi/egs/wsj/s5/utils"; do
        if [ -e "${_part_utils}/run.pl" ]; then
            PATH="${_part_utils}:${PATH}"
            break
        fi
    done
fi
export PATH

# Sorting must not depend on the machine's language.
export LC_ALL=C
export PYTHONIOENCODING=UTF-8
export PYTHONUTF8=1
# Parallel jobs with one thread each; a training that has the machine for itself may take more.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Threads that wait asleep: spinning ones take the cores from other jobs (measured in tools/bench).
# Our own commands see to it themselves; stock ESPnet's, which baseline.sh runs, do not.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
export TOKENIZERS_PARALLELISM="${TOKENIZERS_PARALLELISM:-false}"
# A launcher that sets a clean environment (sbatch --export=PATH) needs what matters set here:
# export HF_HOME=/somewhere/shared
# export NCCL_SOCKET_IFNAME="^lo,docker,virbr"

unset _part_here _part_utils
