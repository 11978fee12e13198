#!/usr/bin/env bash
# Ends with a clear message unless each named variable of db.sh is a directory. A recipe's run.sh calls
# it first: a wrong path is found in an instant, not after the set-up.
set -euo pipefail

if [ $# -lt 1 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    echo "Usage: utils/check_corpus.sh VARIABLE ...    (from a recipe's directory; see db.sh)"
    if [ $# -ge 1 ]; then exit 0; else exit 2; fi
fi

# shellcheck source=../db.sh
. ./db.sh

for name in "$@"; do
    directory="${!name:-}"
    if [ -n "${directory}" ] && [ -d "${directory}" ]; then continue; fi
    {
        if [ -z "${directory}" ]; then
            echo "check_corpus.sh: error: ${name} is not set: write it into db.sh, or set it for this" \
                "run: ${name}=/some/directory ./run.sh"
        else
            echo "check_corpus.sh: error: ${name}=${directory}: no such directory"
        fi
        # what db.sh says of it
        awk -v name="${name}" '
            index($0, "# " name ":") == 1 { on = 1 }
            on && !/^#/ { exit }
            on { sub(/^# ?/, "  "); print }' db.sh
    } >&2
    exit 1
done
