"""Leave out what is not fit for training (stage 3 of a recipe)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_part.command import HelpFormatter, add_split, check_job, command
from espnet_part.data.text import TEXT_NORMALIZERS


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_filter_data",
        description="Copies a data directory without utterances that are not fit for training: "
        "too short, too long, without text, or with a text that cannot belong to the audio. Each "
        "is named with its reason in OUT_DIR/dropped.tsv; a summary by reason is printed. The "
        "transcripts that stay can be normalised. Needs the utt2num_samples of part_format_data.",
        epilog="example: part_filter_data --in_dir dump/raw/org/train --out_dir dump/raw/train "
        "--text_normalizer lower_no_punctuation",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--in_dir", required=True, metavar="DIR", help="data directory to read")
    parser.add_argument("--out_dir", required=True, metavar="DIR", help="data directory to make")
    parser.add_argument("--min_wav_duration", type=float, default=0.1, help="seconds of speech")
    parser.add_argument("--max_wav_duration", type=float, default=30.0, help="seconds of speech")
    parser.add_argument(
        "--max_text_chars", type=int, default=1000, help="characters of a target or source text"
    )
    parser.add_argument(
        "--min_chars_per_second",
        type=float,
        default=0.0,
        help="characters of the target over seconds of speech",
    )
    parser.add_argument(
        "--max_chars_per_second",
        type=float,
        default=50.0,
        help="nobody speaks so quickly: the text belongs to other audio",
    )
    parser.add_argument(
        "--text_normalizer",
        choices=tuple(TEXT_NORMALIZERS),
        default="none",
        help="how transcripts (the targets of ASR) are written for training. none: as the corpus "
        "has them; nfkc: Unicode's compatibility form (full-width letters become plain ones); "
        "lower: nfkc in lower case; lower_no_punctuation: without punctuation, too. Translations "
        "stay as they are, since BLEU counts case and punctuation. The name is kept in "
        "OUT_DIR/text_normalizer; scoring has a normaliser of its own (part_score)",
    )
    add_split(parser)
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    parser = get_parser()
    args = parser.parse_args(cmd)
    check_job(parser, args)
    if not 0 <= args.min_wav_duration < args.max_wav_duration:
        parser.error("--min_wav_duration must be less than --max_wav_duration, neither below 0")
    from espnet_part.data.filtering import Filtering, Limits, filter_directory
    from espnet_part.data.splits import do_split

    limits = Limits(
        min_seconds=args.min_wav_duration,
        max_seconds=args.max_wav_duration,
        max_chars=args.max_text_chars,
        min_chars_per_second=args.min_chars_per_second,
        max_chars_per_second=args.max_chars_per_second,
    )
    work = Filtering(Path(args.in_dir), limits, args.text_normalizer)
    if args.job is not None:
        do_split(work, Path(args.out_dir), args.nj, args.job)
        return
    print(f"{args.out_dir}: {filter_directory(work, args.out_dir, args.nj)}")


if __name__ == "__main__":
    main()
