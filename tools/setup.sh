#!/usr/bin/env bash
# Makes the Python environment of this package; see --help. The work is done by environment.py.
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -euo pipefail

here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"

# Any Python that can run the program; which one the environment is built on is the program's choice.
candidates=(python3 python3.13 python3.12 python3.11 python3.10 "${here}/venv/bin/python")
for ((i = 1; i < $#; i++)); do
    if [ "${!i}" = --python ]; then
        j=$((i + 1))
        candidates+=("${!j}" "python${!j}")
    fi
done
for python in "${candidates[@]}"; do
    if "${python}" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
        exec "${python}" -E -B "${here}/environment.py" "$@"
    fi
done
if command -v python3 >/dev/null 2>&1; then
    echo "setup.sh: error: Python 3.10, 3.11, 3.12 or 3.13 is needed, and python3 is $(python3 -V 2>&1 || true);" \
        "install one and give it with --python" >&2
else
    echo "setup.sh: error: python3 is missing; on Debian and Ubuntu: apt-get install python3 python3-venv" >&2
fi
exit 1
