#!/usr/bin/env bash
# Makes the Python environment of vLLM, for --engine vllm; see --help. The work is done by vllm_environment.py.
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -euo pipefail

here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"

# Any Python that can run the program; which one the environment is built on is the program's choice.
for python in python3 python3.13 python3.12 python3.11 "${here}/venv/bin/python"; do
    if "${python}" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
        exec "${python}" -E -B "${here}/vllm_environment.py" "$@"
    fi
done
echo "setup_vllm.sh: error: Python 3.11 or newer is needed; on Debian and Ubuntu: apt-get install python3 python3-venv" >&2
exit 1
