"""Train one stage of a speech LLM by its schedule of phases."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from espnet_part.command import command
from espnet_part.errors import AGAIN
from espnet_part.train import notice


def get_parser() -> Any:
    """The parser with all of ESPnet's training options and this task's own."""
    return _task().get_parser()


@command
def main(cmd: Sequence[str] | None = None) -> None:
    cmd = sys.argv[1:] if cmd is None else cmd
    if "--help_all" in cmd:
        print(get_parser().format_help())
        return
    if not {"-h", "--help"}.isdisjoint(cmd):
        from espnet_part.train.arguments import short_help

        print(short_help())
        return
    # the loading processes each run the tokenizer in one thread
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with notice.unheeded():
        _check(cmd)
        _task().main(cmd=cmd)


def _task() -> Any:
    """Import the task, without ESPnet's word about an optional package that is not used here."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        from espnet_part.task import PARTTask
    for line in printed.getvalue().splitlines():
        if not line.startswith("Failed to import Flash Attention"):
            print(line)
    return PARTTask


def _check(cmd: Sequence[str]) -> None:
    """Refuse wrong options and a wrong configuration before ESPnet is imported, which takes seconds."""
    from espnet_part.config import load_yaml
    from espnet_part.errors import ConfigError, did_you_mean
    from espnet_part.recipe.options import split_options
    from espnet_part.recipe.training_options import option_errors, training_options, word_errors
    from espnet_part.train.arguments import check_given

    known = {f"--{name}": None for name in training_options()}
    given = dict.fromkeys(name for name, _ in split_options(cmd)[0])
    for name in given:
        if f"--{name}" not in known:
            raise ConfigError(did_you_mean(f"--{name}", known, listed=False))
    errors = word_errors(cmd, "command line")
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    parser.add_argument("--model_config")
    parser.add_argument("--train_data_dir", nargs="+", default=[])
    args, _ = parser.parse_known_args(cmd)
    for path in filter(None, (args.config, args.model_config)):
        values = load_yaml(path)
        given |= dict.fromkeys(values)
        errors += option_errors(values, path)
    if errors:
        raise ConfigError(errors[0])
    if args.config is not None:
        given["phases"] = None  # a stage file without them is told with its name, below
    if "print_config" not in given:
        check_given(given)
    if args.config is not None and args.model_config is not None and args.train_data_dir:
        from espnet_part import stage_file

        stage_file.check(args.config, args.model_config, args.train_data_dir)


if __name__ == "__main__":
    try:
        main()
    except SystemExit as ended:
        if ended.code != AGAIN:
            raise
        notice.leave(AGAIN)
    notice.leave(0)
