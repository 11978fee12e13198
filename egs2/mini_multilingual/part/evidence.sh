#!/usr/bin/env bash
# The paper's tables in miniature: trains what conf/evidence.yaml declares, over seeds, and writes
# evidence/EVIDENCE.md. Options are those of part_evidence (./evidence.sh --help); a day or two on two
# cores, and it goes on where it was when it is typed again.
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -euo pipefail

here=$(dirname -- "${BASH_SOURCE[0]}")
[ -d "${here}/utils" ] || here=${SLURM_SUBMIT_DIR:-.} # sbatch runs a copy of this file, elsewhere
[ -d "${here}/utils" ] || { echo "$0: error: submit it from its own directory" >&2; exit 1; }
cd -- "${here}"
../../../tools/setup.sh --extras mini
. ./path.sh

exec python3 -m espnet_part.bin.part_evidence --recipe . "$@"
