#!/usr/bin/env bash
# Sets up what is missing, then style, types and tests; see --help.
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -euo pipefail

case "${1:-}" in
    -h | --help)
        cat <<'EOT'
Usage: tools/test.sh [pytest's arguments]

Sets up what is missing (with the extras mini, dev and docs), then style, types and all tests. Examples:

  tools/test.sh -m "not recipe"              without the tests that run whole recipes: much quicker
  tools/test.sh tests/schedule -k selector   some tests
  tools/test.sh -s --pdb tests/test_task.py  in one process, with the debugger

What was skipped, and why, stands at the end. shellcheck, sctk (sclite), ffmpeg, chromium and Slurm
(slurm-wlm and munge), from the system's packages, are used where they are installed, and so is vLLM
(tools/setup_vllm.sh). A recipe of this checkout may run at the same time: tests work in directories of
their own.
EOT
        exit 0
        ;;
esac

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
tools/setup.sh --extras mini,dev,docs
# shellcheck source=env.sh
. tools/env.sh

# Two test processes with one thread each use two cores better than one process with two threads.
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false MPLBACKEND=Agg
status=0

check() { # NAME COMMAND ...
    echo "== $1"
    shift
    "$@" || status=1
}

check "ruff check" python -m ruff check --quiet
check "ruff format" python -m ruff format --check --quiet
check "mypy" python -m mypy --no-error-summary
if command -v shellcheck >/dev/null 2>&1; then
    shell_files=()
    while IFS= read -r file; do shell_files+=("${file}"); done < <(
        find tools egs2 .ci \( -name 'venv' -o -name '.venv-*' -o -name '.vllm-*' -o -name exp -o -name dump -o -name data \) -prune -o \
            -type f \( -name '*.sh' -o -path .ci/run \) -print
    )
    check "shellcheck" shellcheck -x -P SCRIPTDIR -P egs2/TEMPLATE/part "${shell_files[@]}"
fi
if [ "${status}" -ne 0 ]; then
    echo "test.sh: error: style or types fail, see above; the tests are run all the same" >&2
fi

echo "== pytest"
parallel=(-n 2 --dist loadfile)
for argument in "$@"; do
    # a debugger, and one's own choice of processes, need the plain form
    case "${argument}" in -n* | --pdb | --dist* | -s) parallel=() ;; esac
done
python -m pytest ${parallel[@]+"${parallel[@]}"} "$@" || status=$?
for name in shellcheck sclite ffmpeg chromium slurmctld; do
    # Debian's package calls it "sctk sclite"
    command -v "${name}" >/dev/null 2>&1 || { [ "${name}" = sclite ] && command -v sctk >/dev/null 2>&1; } ||
        echo "test.sh: WARNING: ${name} is not installed: what it checks was NOT checked" >&2
done
exit "${status}"
