#!/usr/bin/env bash
# Decodes the test set with Whisper as a whole, from the encoder's directory, and scores it: the rows
# beside PART's in RESULTS.md. Run it after stage 4 of run.sh; the options are those of
# `python3 -m espnet_part.baseline.whisper --help`.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
. ./path.sh

decode_dir=exp/whisper_base/decode_greedy/test
python3 -m espnet_part.baseline.whisper --model exp/base_models/encoder --data_dir dump/raw/test \
    --output_dir "${decode_dir}" "$@"
python3 -m espnet_part.bin.part_score --ref_dir "${decode_dir}/data" --hyp_dir "${decode_dir}"
