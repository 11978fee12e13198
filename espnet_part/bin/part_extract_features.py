"""Compute a frozen encoder's output once, for training to read in place of the audio."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from espnet_part.command import (
    HelpFormatter,
    check_job,
    command,
    count,
    ending_before_its_limit,
)


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_extract_features",
        description="Encodes each distinct clip of a data directory once and writes feats.ark, "
        "feats.scp and encoder.json, which part_train reads with --train_feats_dir while the "
        "encoder is frozen. Started again after a kill, it goes on where it stopped. An hour of audio takes "
        "0.4 GB with Whisper base and 0.9 GB with Whisper large (float32, 50 frames a second).",
        epilog="example: part_extract_features --data_dir dump/raw/train --model_config "
        "conf/model/x.yaml --out_dir dump/encoder/train",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--data_dir", required=True, metavar="DIR", help="the data directory")
    parser.add_argument(
        "--model_config", required=True, metavar="YAML", help="the model; its encoder is used"
    )
    parser.add_argument(
        "--part_init", metavar="FILE", help="trained weights, when the encoder was trained"
    )
    parser.add_argument("--out_dir", required=True, metavar="DIR", help="where the features go")
    parser.add_argument(
        "--batch_bins",
        type=int,
        default=4_800_000,
        help="most samples of a batch at 16 kHz, padding included (4800000: 300 s)",
    )
    parser.add_argument("--ngpu", type=int, default=0, help="0 for the CPU, 1 for a GPU")
    parser.add_argument("--nj", type=count, default=1, help="number of jobs (see --job)")
    parser.add_argument(
        "--job",
        type=count,
        metavar="JOB",
        help="encode one job's clips only, into feats.JOB.ark; the same command without --job encodes those "
        "that are lacking, and joins all",
    )
    parser.add_argument("--num_threads", type=int, help="CPU threads; by default torch's choice")
    parser.add_argument(
        "--max_bad_share",
        type=float,
        default=0.05,
        help="exit status 1 when a larger share of the examples failed",
    )
    parser.add_argument("--log_level", default="INFO", help="DEBUG, INFO, WARNING or ERROR")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    parser = get_parser()
    args = parser.parse_args(cmd)
    check_job(parser, args)
    logging.basicConfig(
        level=args.log_level.upper(),
        format="%(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s",
    )
    from espnet_part.data.datadir import ExampleReader, check_share, report_faults
    from espnet_part.errors import ConfigError, DataError
    from espnet_part.model.config import ModelConfig

    if args.batch_bins < 1:
        raise ConfigError(f"--batch_bins: must be positive, not {args.batch_bins}")
    config = ModelConfig.load(args.model_config)
    reader = ExampleReader(args.data_dir, need_text=False)
    good = sum(map(len, reader))
    if reader.faults:
        logging.warning("%s:\n%s", args.data_dir, report_faults(reader.faults))
    check_share(reader.faults, good, args.max_bad_share, args.data_dir)

    import torch

    from espnet_part.decode.features import Encoder, extract_features

    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    if args.ngpu and not torch.cuda.is_available():
        raise DataError("--ngpu 1, but torch finds no GPU")
    encoder = Encoder.load(config, args.part_init, "cuda" if args.ngpu else "cpu")
    out_dir = Path(args.out_dir)
    parts = ExampleReader(args.data_dir, need_text=False)
    examples = (example for part in parts for example in part)
    with ending_before_its_limit():
        encoded = extract_features(
            examples, encoder, out_dir, args.batch_bins, args.max_bad_share, args.job, args.nj
        )
    logging.info("%d clips encoded; see %s", encoded, out_dir)


if __name__ == "__main__":
    main()
