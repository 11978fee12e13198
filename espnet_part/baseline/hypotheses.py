"""From the output of ESPnet's decoding jobs to one ``text`` without language tokens."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from espnet_part.baseline.directories import language_token
from espnet_part.command import HelpFormatter, command, str2bool
from espnet_part.config import load_yaml
from espnet_part.files import atomic_write
from espnet_part.inputs import read_text
from espnet_part.kaldi import read_table, write_table
from espnet_part.score.decoded import collect_hypotheses


def strip_languages(
    hypotheses: Mapping[str, str], languages: Mapping[str, str], tokens: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Take the language token off each hypothesis.

    Args:
        hypotheses: ``<de> Guten Tag`` by utterance.
        languages: the language that is to be written, by utterance.
        tokens: the language tokens of the model.

    Returns:
        The texts, and the utterances whose first token is not that language's. Those keep what
        they say after a token of another language.
    """
    texts, wrong = {}, []
    for utterance, hypothesis in hypotheses.items():
        first, _, rest = hypothesis.strip().partition(" ")
        texts[utterance] = rest.strip() if first in tokens else hypothesis.strip()
        if first != language_token(languages.get(utterance, "")):
            wrong.append(utterance)
    return texts, wrong


def describe_search(decode_dir: Path, config: Path, told: bool) -> None:
    """Write the search's options beside each job's output, where part_score looks for them."""
    options = {
        **load_yaml(config),
        "language token": "given" if told else "guessed",
        "espnet": version("espnet"),
    }
    for output in decode_dir.glob("logdir/output.*"):
        with atomic_write(output / "decode.json") as file:
            json.dump(options, file, indent=1)
            file.write("\n")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.baseline.hypotheses",
        description="Joins logdir/output.*/1best_recog/text of a decoding directory into text, "
        "without the language tokens.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--data_dir", required=True, type=Path, metavar="DIR", help="has utt2tgt")
    parser.add_argument(
        "--token_dir", required=True, type=Path, metavar="DIR", help="has languages.txt"
    )
    parser.add_argument(
        "--decode_config", required=True, type=Path, metavar="YAML", help="the search's options"
    )
    parser.add_argument(
        "--told", type=str2bool, default=True, help="whether the language token was given"
    )
    parser.add_argument("--decode_dir", required=True, type=Path, metavar="DIR")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    languages = read_table(args.data_dir / "utt2tgt")
    tokens = read_text(args.token_dir / "languages.txt").split()
    texts, wrong = strip_languages(collect_hypotheses(args.decode_dir), languages, tokens)
    write_table(args.decode_dir / "text", texts.items())
    describe_search(args.decode_dir, args.decode_config, args.told)
    print(f"{len(texts)} of {len(languages)} utterances decoded")
    if wrong:
        print(f"{len(wrong)} of them without the token of the language asked for: {wrong[0]}, …")


if __name__ == "__main__":
    main()
