"""Decode a data directory (or a shard of it) with a trained model."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from espnet_part.command import command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_inference",
        description="Decodes a data directory. Writes 1best_recog/{text,token,token_int,score}, "
        "failed.tsv and rtf.json into --output_dir. Started again after a kill, it goes on where "
        "it stopped; with another model or other settings it starts over.",
        epilog="example: part_inference --part_train_config exp/x/config.yaml --part_model_file "
        "exp/x/valid.acc.ave.safetensors --data_dir dump/raw/test --output_dir "
        "exp/x/decode/test/logdir/output.1",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
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
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 is quicker and smaller; float32 gives the same tokens at any batch size",
    )
    parser.add_argument("--batch_size", type=int, default=8, help="utterances decoded at once")
    parser.add_argument("--beam_size", type=int, default=1, help="1 is greedy search")
    parser.add_argument(
        "--length_penalty", type=float, default=1.0, help="beam search: higher favours long output"
    )
    parser.add_argument(
        "--max_tokens_per_second", type=float, default=25.0, help="longest output, by audio"
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
    parser.add_argument("--num_threads", type=int, help="CPU threads; by default torch's choice")
    parser.add_argument("--log_level", default="INFO", help="DEBUG, INFO, WARNING or ERROR")
    return parser


REQUIRED = ("part_train_config", "data_dir", "output_dir")
SEARCH = (
    "beam_size",
    "length_penalty",
    "max_tokens_per_second",
    "max_tokens_ratio",
    "max_tokens_extra",
    "max_new_tokens",
)


def parse(cmd: Sequence[str] | None) -> argparse.Namespace:
    """Read options; those of --config come first, so that the command line wins."""
    import sys

    from espnet_part.config import ConfigError, did_you_mean, load_yaml

    parser = get_parser()
    given = list(sys.argv[1:] if cmd is None else cmd)
    args = parser.parse_args(given)
    if args.config:
        known = vars(args).keys() - {"config"}
        words = []
        for key, value in load_yaml(args.config).items():
            if key not in known:
                raise ConfigError(f"{args.config}: {did_you_mean(str(key), sorted(known))}")
            if value is not None:
                words.append(f"--{key}={value}")
        _check_words(words, args.config)
        args = parser.parse_args([*words, *given])
    for key in REQUIRED:
        if getattr(args, key) is None:
            raise ConfigError(f"--{key} is missing")
    return args


def _check_words(words: list[str], file: str) -> None:
    """Name the file where a value in it is of the wrong kind, as argparse does not.

    Raises:
        ConfigError: names file and option.
    """
    from espnet_part.config import ConfigError
    from espnet_part.display import plain

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ConfigError(f"{file}: {plain(message, 300)}")

    parser = get_parser()
    parser.__class__ = Parser
    parser.parse_args(words)


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = parse(cmd)
    logging.basicConfig(
        level=args.log_level.upper(),
        format="%(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s",
    )
    from espnet_part.config import ConfigError, build
    from espnet_part.decode.search import Search
    from espnet_part.errors import DataError
    from espnet_part.model.base import file_sha256, fingerprint
    from espnet_part.model.config import ModelConfig
    from espnet_part.model.tokenizer import tokenizer_sha256
    from espnet_part.pack.locations import load_run_config

    search = {key: getattr(args, key) for key in SEARCH}
    build(Search, search, "part_inference")  # wrong settings are told before anything is loaded
    files = [Path(args.part_train_config)]
    if args.part_model_file:
        files.append(Path(args.part_model_file))
    for path in files:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    config = ModelConfig.from_mapping(load_run_config(files[0]), str(files[0]))
    if config.prompts is None:
        raise ConfigError(f"{files[0]}: the key `prompts` is missing")
    if not Path(config.prompts).is_file():
        raise ConfigError(f"{files[0]}: prompts: {config.prompts}: no such file")

    from espnet_part.decode.shard import decode_shard, select_examples

    examples, bad = select_examples(
        Path(args.data_dir), Path(args.key_file) if args.key_file else None
    )
    settings = {
        "train_config": file_sha256(files[0]),
        "model": fingerprint(files[1:]),
        "prompts": file_sha256(Path(config.prompts)),
        "tokenizer": tokenizer_sha256(config.llm_conf),
        "dtype": args.dtype,
        **search,
    }

    def load():
        import torch

        from espnet_part.decode.speech2text import Speech2Text

        if args.num_threads:
            torch.set_num_threads(args.num_threads)
        if args.ngpu and not torch.cuda.is_available():
            raise DataError("--ngpu 1, but torch finds no GPU")
        return Speech2Text(
            args.part_train_config,
            args.part_model_file,
            device="cuda" if args.ngpu else "cpu",
            dtype=args.dtype,
            batch_size=args.batch_size,
            **search,
        )

    times = decode_shard(
        examples,
        bad,
        Path(args.output_dir),
        load,
        settings,
        args.batch_size,
        args.max_bad_share,
    )
    logging.info(
        "%d utterances, %d failed; %.1f s of audio in %.1f s: real-time factor %.3f",
        times["utterances"],
        times["failed"],
        times["audio_seconds"],
        times["decode_seconds"],
        times["rtf"],
    )


if __name__ == "__main__":
    main()
