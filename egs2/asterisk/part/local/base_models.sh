#!/usr/bin/env bash
# Puts the encoder and the LLM into exp/base_models; the options are those of
# `python3 -m espnet_part.corpora.asterisk.base_models --help`.
set -euo pipefail

. ./path.sh

python3 -m espnet_part.corpora.asterisk.base_models --out exp/base_models "$@"
