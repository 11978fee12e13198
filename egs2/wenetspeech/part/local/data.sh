#!/usr/bin/env bash
# Makes data/{train,dev,test_net,test_meeting}; the options are those of
# `python3 -m espnet_part.corpora.wenetspeech --help`.
set -euo pipefail

. ./path.sh

python3 -m espnet_part.corpora.wenetspeech --out data "$@"
