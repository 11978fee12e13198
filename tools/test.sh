#!/usr/bin/env bash
# Sets up what is missing, then style, types and tests. Arguments go to pytest:
#   tools/test.sh tests/schedule -k selector
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
tools/setup.sh --extras mini,dev
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
        find tools egs2 .ci \( -name venv -o -name exp -o -name dump -o -name data \) -prune -o \
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
exit "${status}"
