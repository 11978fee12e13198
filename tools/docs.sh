#!/usr/bin/env bash
# Builds the documentation's site; see --help.
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -euo pipefail

case "${1:-build}" in
    build | serve) ;;
    -h | --help)
        cat <<'EOT'
Usage: tools/docs.sh [build|serve]

Builds the documentation into build/site (begin with index.html), in the environment of
tools/setup.sh with the extra docs. A warning, or a link that leads nowhere, is an error.
`tools/docs.sh serve` shows it at http://127.0.0.1:8000 while it is written.
EOT
        exit 0
        ;;
    *)
        echo "docs.sh: error: $1: must be build or serve; see tools/docs.sh --help" >&2
        exit 1
        ;;
esac

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
tools/setup.sh --extras docs
# shellcheck source=env.sh
. tools/env.sh

export NO_MKDOCS_2_WARNING=1 # the theme advertises another program
if [ "${1:-build}" = serve ]; then
    exec python -m mkdocs serve --config-file docs/mkdocs.yml
fi
python -m mkdocs build --strict --config-file docs/mkdocs.yml
echo "docs.sh: done: build/site/index.html"
