"""Bring the audio of a data directory into one format (stage 2 of a recipe)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_part.command import HelpFormatter, add_split, check_job, command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_format_data",
        description="Makes a data directory whose audio is 16 kHz, mono, checked and counted "
        "(utt2num_samples). Reads whatever soundfile reads, Kaldi arks and segments. Audio that "
        "cannot be used is named with its reason in OUT_DIR/bad_audio.tsv and left out. An "
        "interrupted run goes on where it stopped.",
        epilog="example: part_format_data --in_dir data/train --out_dir dump/raw/org/train --nj 8",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--in_dir", required=True, metavar="DIR", help="data directory to read")
    parser.add_argument("--out_dir", required=True, metavar="DIR", help="data directory to make")
    parser.add_argument(
        "--audio_format",
        choices=("wav", "flac", "copy"),
        default="flac",
        help="format of the new files (16 bit); copy leaves the audio where and as it is, and only "
        "checks and counts it",
    )
    parser.add_argument(
        "--max_bad_share",
        type=float,
        default=0.05,
        help="a larger share of unusable utterances is an error",
    )
    add_split(parser, nj=4)
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    parser = get_parser()
    args = parser.parse_args(cmd)
    check_job(parser, args)
    if not 0 <= args.max_bad_share <= 1:
        parser.error(f"--max_bad_share {args.max_bad_share}: is between 0 and 1")
    from espnet_part.data.formatting import Formatting, format_directory
    from espnet_part.data.splits import do_split
    from espnet_part.sample_rate import SAMPLE_RATE

    if args.job is not None:
        work = Formatting(Path(args.in_dir), Path(args.out_dir), args.audio_format)
        do_split(work, work.out_dir, args.nj, args.job)
        return
    formatted = format_directory(
        args.in_dir, args.out_dir, args.audio_format, args.nj, args.max_bad_share
    )
    hours, bad = formatted.samples / SAMPLE_RATE / 3600, formatted.bad
    print(f"{args.out_dir}: {formatted.examples} examples, {hours:.2f} h of speech")
    if bad:
        print(
            f"part_format_data: WARNING: {len(bad)} faults (first: {bad[0][0]}: {bad[0][1]});"
            f" see {args.out_dir}/bad_audio.tsv",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
