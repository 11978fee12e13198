"""Decode a data directory (or a shard of it) with a trained model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_part.command import command, ending_before_its_limit
from espnet_part.decode.arguments import BUDGET, SEARCH, get_parser, parse

__all__ = ["get_parser", "main", "parse"]


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = parse(cmd)
    logging.basicConfig(
        level=args.log_level.upper(),
        format="%(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s",
    )
    from espnet_part.config import build
    from espnet_part.decode.budget import Budget
    from espnet_part.decode.search import Search
    from espnet_part.errors import ConfigError, DataError
    from espnet_part.model.base import file_sha256, fingerprint
    from espnet_part.model.config import ModelConfig
    from espnet_part.model.tokenizer import tokenizer_sha256
    from espnet_part.pack.locations import load_run_config

    # wrong settings are told before anything is loaded
    search = {key: getattr(args, key) for key in SEARCH}
    build(Search, search, "part_inference")
    build(Budget, {key: getattr(args, key) for key in BUDGET}, "part_inference")
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
        "engine": args.engine,
        **search,
    }

    def load() -> Any:
        import torch

        from espnet_part.decode.speech2text import Speech2Text

        if args.num_threads:
            torch.set_num_threads(args.num_threads)
        if args.ngpu and not torch.cuda.is_available():
            raise DataError("--ngpu 1, but torch finds no GPU")
        model = Speech2Text(
            args.part_train_config,
            args.part_model_file,
            device="cuda" if args.ngpu else "cpu",
            dtype=args.dtype,
            batch_size=args.batch_size,
            batch_bins=args.batch_bins,
            engine=args.engine,
            **search,
        )
        for stratum in sorted({(e.task, e.lang, e.tgt) for e in examples}):
            if strange := model.why_strange(*stratum):
                logging.warning("%s", strange)
        return model

    with ending_before_its_limit():
        times = decode_shard(
            examples,
            bad,
            Path(args.output_dir),
            load,
            settings,
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
