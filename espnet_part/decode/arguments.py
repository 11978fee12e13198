"""Options of the commands that decode. Imports no torch, so that wrong ones are told at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from espnet_part.command import HelpFormatter, check_words
from espnet_part.config import load_yaml
from espnet_part.decode import engines
from espnet_part.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from espnet_part.decode.speech2text import Speech2Text
    from espnet_part.pack.stored import StoredModel

#: What `find_model` takes, for the help of a command.
MODEL = (
    "a packed model (zip, or the directory it was unpacked to), an experiment (exp/part) or its "
    "config.yaml, or owner/name of the Hugging Face hub"
)


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_inference",
        description="Decodes a data directory. Writes 1best_recog/{text,token,token_int,score} (with "
        "--nbest 2best_recog and so on as well), failed.tsv and rtf.json into --output_dir. Started "
        "again after a kill, it goes on where "
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
        "--nbest", type=int, default=1, help="hypotheses written, at most as many as --beam_size"
    )
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
        "--batch_size",
        type=int,
        default=8,
        help="utterances or windows decoded at once; does not count with --batch_bins",
    )
    parser.add_argument(
        "--batch_bins",
        type=int,
        metavar="N",
        help="in place of --batch_size: as many at once as have so many positions of the LLM, padding "
        "included. One has those of its prompt (with the speech) and of its longest answer "
        "(--max_tokens_per_second), --beam_size times; one that has more is decoded alone. Not with "
        "--engine vllm",
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
    parser.add_argument(
        "--engine",
        choices=engines.names(),
        default=engines.DEFAULT,
        help="what runs the LLM; vllm (tools/setup_vllm.sh) is made for many utterances at once on GPUs, "
        "searches greedily, and in float32 gives the same tokens",
    )
    parser.add_argument("--num_threads", type=int, help="CPU threads; by default torch's choice")
    parser.add_argument("--log_level", default="INFO", help="DEBUG, INFO, WARNING or ERROR")


def add_window_arguments(parser: argparse._ActionsContainer) -> None:
    """How files are cut, for all commands that take files of any length; see `Windowing`."""
    parser.add_argument(
        "--max_window",
        type=float,
        metavar="SECONDS",
        help="longest piece decoded at once: 30, or what the LLM's context can hold",
    )
    parser.add_argument(
        "--min_window",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="a shorter piece is joined to one that is near",
    )
    parser.add_argument(
        "--min_silence",
        type=float,
        default=0.5,
        metavar="SECONDS",
        help="a pause that ends a window",
    )
    parser.add_argument(
        "--pad",
        type=float,
        default=0.04,
        metavar="SECONDS",
        help="silence kept before and behind a window's speech; 0 for a model that "
        "was trained on closely cut audio",
    )


def add_device_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--ngpu",
        type=int,
        choices=(0, 1),
        help="0 for the CPU, 1 for a GPU; by default a GPU where there is one",
    )


def window_settings(args: argparse.Namespace) -> dict[str, float]:
    """Those of `add_window_arguments` that were given or have a default.

    Raises:
        ConfigError: wrong in themselves, whatever the model.
    """
    from espnet_part.config import build
    from espnet_part.decode.longform import Windowing

    windows = {key: getattr(args, key) for key in WINDOWS if getattr(args, key) is not None}
    build(Windowing, windows, "windows")
    return windows


def search_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Those of `add_search_arguments` that are settings of `Search`.

    Raises:
        ConfigError: one is wrong, or the budget is.
    """
    from espnet_part.config import build
    from espnet_part.decode.budget import Budget
    from espnet_part.decode.search import Search

    search = {key: getattr(args, key) for key in SEARCH if hasattr(args, key)}
    build(Search, search, "search")
    build(Budget, {key: getattr(args, key) for key in BUDGET}, "decoding")
    return search


def load_model(
    stored: StoredModel, args: argparse.Namespace, search: dict[str, Any]
) -> Speech2Text:
    """The model on the device that the options name.

    Raises:
        ConfigError, DataError: as `Speech2Text`; there is no GPU.
    """
    import torch

    from espnet_part.decode.speech2text import Speech2Text

    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    if args.ngpu and not torch.cuda.is_available():
        raise DataError("--ngpu 1, but torch finds no GPU")
    gpu = torch.cuda.is_available() if args.ngpu is None else bool(args.ngpu)
    return Speech2Text(
        stored.config,
        stored.weights,
        device="cuda" if gpu else "cpu",
        dtype=args.dtype,
        batch_size=args.batch_size,
        batch_bins=args.batch_bins,
        engine=args.engine,
        **search,
    )


WINDOWS = ("max_window", "min_window", "min_silence", "pad")
BUDGET = ("batch_size", "batch_bins")
REQUIRED = ("part_train_config", "data_dir", "output_dir")
SEARCH = (
    "beam_size",
    "nbest",
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
