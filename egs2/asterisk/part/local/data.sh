#!/usr/bin/env bash
# Makes data/{train,dev,test}; the options are those of
# `python3 -m espnet_part.corpora.asterisk.prepare --help`.
set -euo pipefail

. ./path.sh

python3 -m espnet_part.corpora.asterisk.prepare --out data "$@"
