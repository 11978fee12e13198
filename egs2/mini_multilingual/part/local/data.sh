#!/usr/bin/env bash
# Makes data/{train,dev,test} and data/{encoder_train,encoder_dev}; the options are those of
# `python3 -m espnet_part.corpora.mini.prepare --help`.
set -euo pipefail

. ./path.sh

python3 -m espnet_part.corpora.mini.prepare --out data "$@"
