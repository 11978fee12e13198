"""Decoding jobs of one language to be written each."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_part.baseline.inference import ANY
from espnet_part.command import HelpFormatter, command
from espnet_part.files import atomic_write
from espnet_part.kaldi import read_table, write_table


def split_jobs(languages: Mapping[str, str], jobs: int) -> list[tuple[str, list[str]]]:
    """Deal utterances out to about ``jobs`` jobs of one language each.

    Args:
        languages: language by utterance.
        jobs: number of jobs wanted; each language has one at least, and its share of them.

    Returns:
        (language, utterances) of each job; long and short utterances come to each alike.
    """
    by_language: dict[str, list[str]] = {}
    for utterance, language in sorted(languages.items()):
        by_language.setdefault(language, []).append(utterance)
    split = []
    for language, utterances in sorted(by_language.items()):
        share = max(1, round(jobs * len(utterances) / len(languages)))
        parts = [utterances[n::share] for n in range(min(share, len(utterances)))]
        split += [(language, part) for part in parts]
    return split


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.baseline.jobs",
        description="Writes keys.N.scp (utterances) and language.N for decoding jobs of one "
        "language each. Prints the number of jobs.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--data_dir", required=True, type=Path, metavar="DIR", help="has utt2tgt")
    parser.add_argument("--logdir", required=True, type=Path, metavar="DIR")
    parser.add_argument("--nj", type=int, default=1, help="number of jobs, about")
    parser.add_argument(
        "--let_it_guess", action="store_true", help="jobs of all languages: the model chooses"
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    languages = read_table(args.data_dir / "utt2tgt")
    if args.let_it_guess:
        languages = dict.fromkeys(languages, ANY)
    split = split_jobs(languages, args.nj)
    for number, (language, utterances) in enumerate(split, 1):
        write_table(args.logdir / f"keys.{number}.scp", ((utt, "") for utt in utterances))
        with atomic_write(args.logdir / f"language.{number}") as file:
            file.write(f"{language}\n")
    print(len(split))


if __name__ == "__main__":
    main()
