#!/usr/bin/env bash
# Pretrains the encoder and the LLM side by side; the options are those of
# `python3 -m espnet_part.corpora.mini.base_models --help`.
set -euo pipefail

. ./path.sh

python3 -m espnet_part.corpora.mini.base_models --config conf/base_models.yaml "$@"
