"""The options of ``part_inference``. Imports no torch, so that wrong ones are told at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from espnet_part.command import HelpFormatter, check_words
from espnet_part.config import load_yaml
from espnet_part.errors import ConfigError, did_you_mean


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_inference",
        description="Decodes a data directory. Writes 1best_recog/{text,token,token_int,score}, "
        "failed.tsv and rtf.json into --output_dir. Started again after a kill, it goes on where "
        "it stopped; with another model or other settings it starts over.",
        epilog="example: part_inference --part_train_config exp/x/config.yaml --part_model_file "
        "exp/x/valid.acc.ave.safetensors --data_dir dump/raw/test --output_dir "
        "exp/x/decode/test/logdir/output.1",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--config", metavar="YAML", help="any of these options by name")
    parser.add_argument("--part_train_config", metavar="YAML", help="config.yaml of the training")
    parser.add_argument("--part_model_file", metavar="FILE", help="trained weights (safetensors)")
    parser.add_argument("--data_dir", metavar="DIR", help="what to decode")
    parser.add_argument(
        "--key_file", metavar="FILE", help="the shard: utterance ids in the first column"
    )
    parser.add_argument("--output_dir", metavar="DIR", help="for example logdir/output.1")
    parser.add_argument("--ngpu", type=int, default=0, help="0 for the CPU, 1 for a GPU")
    add_search_arguments(parser)
    parser.add_argument(
        "--max_tokens_ratio", type=float, default=3.0, help="longest output, by source tokens"
    )
    parser.add_argument(
        "--max_tokens_extra", type=int, default=10, help="added to the longest output"
    )
    parser.add_argument("--max_new_tokens", type=int, help="longest output whatever the input")
    parser.add_argument(
        "--max_bad_share",
        type=float,
        default=0.2,
        help="exit status 1 when a larger share of the utterances failed",
    )
    return parser


def add_search_arguments(parser: argparse._ActionsContainer) -> None:
    """The options of a search, of all commands that decode."""
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 is quicker and smaller; float32 gives the same tokens at any batch size",
    )
    parser.add_argument(
        "--batch_size", type=int, default=8, help="utterances or windows decoded at once"
    )
    parser.add_argument("--beam_size", type=int, default=1, help="1 is greedy search")
    parser.add_argument(
        "--length_penalty", type=float, default=1.0, help="beam search: higher favours long output"
    )
    parser.add_argument(
        "--max_tokens_per_second", type=float, default=25.0, help="longest output, by audio"
    )
    parser.add_argument(
        "--ctc_margin",
        type=float,
        metavar="NATS",
        help="write what an adapter that hears by CTC (ctc_spelling) hears by itself, where it finds "
        "the transcription less likely by more than so many nats a character; by default never",
    )
    parser.add_argument("--num_threads", type=int, help="CPU threads; by default torch's choice")
    parser.add_argument("--log_level", default="INFO", help="DEBUG, INFO, WARNING or ERROR")


REQUIRED = ("part_train_config", "data_dir", "output_dir")
SEARCH = (
    "beam_size",
    "length_penalty",
    "max_tokens_per_second",
    "max_tokens_ratio",
    "max_tokens_extra",
    "max_new_tokens",
    "ctc_margin",
)


def parse(cmd: Sequence[str] | None) -> argparse.Namespace:
    """Read options; those of --config come first, so that the command line wins."""
    parser = get_parser()
    given = list(sys.argv[1:] if cmd is None else cmd)
    args = parser.parse_args(given)
    if args.config:
        args = parser.parse_args([*read_config(args.config), *given])
    for key in REQUIRED:
        if getattr(args, key) is None:
            raise ConfigError(f"--{key} is missing")
    return args


def read_config(path: str) -> list[str]:
    """The options in a file, as words.

    Raises:
        ConfigError: names the file and an option that is unknown or of the wrong kind.
    """
    known = vars(get_parser().parse_args([])).keys() - {"config"}
    words = []
    for key, value in load_yaml(path).items():
        if key not in known:
            raise ConfigError(f"{path}: {did_you_mean(str(key), sorted(known))}")
        if value is not None:
            words.append(f"--{key}={value}")
    check_words(get_parser(), words, path)
    return words
