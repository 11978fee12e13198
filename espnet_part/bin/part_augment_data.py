"""Make more training speech of what there is: other speeds, short utterances joined."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_part.command import HelpFormatter, command, count


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_augment_data",
        description="Makes a data directory that holds another one's examples, copies of its speech at other "
        "speeds, and short transcribed utterances joined into longer ones. For training sets that are small; "
        "recipes call it with --speed_perturb_factors and --join_seconds.",
        epilog="example: part_augment_data --in_dir dump/raw/org/train --out_dir dump/raw/org/train_sp "
        '--speed_perturb_factors "0.9 1.0 1.1"',
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--in_dir", required=True, metavar="DIR", help="of part_format_data")
    parser.add_argument("--out_dir", required=True, metavar="DIR", help="data directory to make")
    parser.add_argument(
        "--speed_perturb_factors",
        default="",
        metavar="LIST",
        help='speeds, such as "0.9 1.0 1.1"; by default none but the recordings\' own',
    )
    parser.add_argument(
        "--join_seconds",
        type=float,
        default=0.0,
        help="join utterances of a speaker into ones of at most so many seconds; 0: none",
    )
    parser.add_argument("--nj", type=count, default=4, help="number of processes")
    parser.add_argument("--seed", type=int, default=0, help="of what is joined with what")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    from espnet_part.data.augmentation import augment_directory, read_factors
    from espnet_part.errors import ConfigError
    from espnet_part.sample_rate import SAMPLE_RATE

    if not 0 <= args.join_seconds <= 1000:
        raise ConfigError(f"--join_seconds must be between 0 and 1000: {args.join_seconds:g}")
    found = augment_directory(
        args.in_dir,
        args.out_dir,
        read_factors(args.speed_perturb_factors),
        args.join_seconds,
        args.nj,
        args.seed,
    )
    hours = sum(example.num_samples or 0 for example in found) / SAMPLE_RATE / 3600
    print(f"{args.out_dir}: {len(found)} examples, {hours:.2f} h of speech")


if __name__ == "__main__":
    main()
