#!/usr/bin/env bash
# Prints the names of the corpora whose variables are set (see db.sh), and says on stderr which are left out.
# At least one must be set, and what is set must be a directory.
set -euo pipefail

. ./db.sh

found=() left_out=()
for name in commonvoice fleurs wenetspeech covost2; do
    variable="${name^^}"
    if [ -z "${!variable:-}" ]; then
        left_out+=("${name} (${variable})")
        continue
    fi
    utils/check_corpus.sh "${variable}"
    found+=("${name}")
done
if [ -n "${COVOST2:-}" ]; then
    if [ -n "${COMMONVOICE4:-}" ]; then
        utils/check_corpus.sh COMMONVOICE4
    elif [ -z "${COMMONVOICE:-}" ]; then # its audio is Common Voice's
        utils/check_corpus.sh COMMONVOICE4
    fi
fi
if [ ${#found[@]} -eq 0 ]; then
    echo "corpora.sh: error: no corpus is set. Give at least one of COMMONVOICE, FLEURS, WENETSPEECH and" \
        "COVOST2 (with COMMONVOICE4), in db.sh or for this run: FLEURS=/corpora/fleurs ./run.sh" >&2
    exit 1
fi
if [ ${#left_out[@]} -gt 0 ]; then
    {
        echo "=================================================================================="
        echo "warning: LEFT OUT of training and of the results, since their variables are empty:"
        printf '  %s\n' "${left_out[@]}"
        echo "=================================================================================="
    } >&2
fi
echo "${found[@]}"
