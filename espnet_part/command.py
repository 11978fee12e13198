"""What every command shares: one clear line when it fails, and the types of its options."""

from __future__ import annotations

import argparse
import contextlib
import functools
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from espnet_part.display import plain
from espnet_part.errors import AGAIN, ConfigError, UserError

Main = Callable[..., None]


def command(main: Main) -> Main:
    """Turn a user's error, or the system's, into one line on stderr and an exit status, mostly 1."""

    @functools.wraps(main)
    def run(cmd: Sequence[str] | None = None) -> None:
        module = main.__module__
        name = Path(sys.argv[0]).stem if module == "__main__" else module.rsplit(".", 1)[-1]
        try:
            main(cmd)
        except UserError as error:
            print(f"{name}: error: {error}", file=sys.stderr)
            sys.exit(error.status)
        except BrokenPipeError:  # `part_describe … | head`
            sys.stderr.close()
        except OSError as error:  # no permission, no space, no such directory
            # some libraries raise it with a message alone
            said = f"{error.strerror}: {error.filename}" if error.filename else str(error)
            print(f"{name}: error: {plain(said)}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print(f"{name}: interrupted", file=sys.stderr)
            sys.exit(130)

    return run


@contextlib.contextmanager
def ending_before_its_limit() -> Iterator[None]:
    """End in the block, to go on when started again, by the signal before a job's time limit (SIGUSR1).

    For work that keeps what it has done as it goes.
    """
    before = signal.signal(signal.SIGUSR1, lambda *_: sys.exit(AGAIN))
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


class HelpFormatter(argparse.HelpFormatter):
    """Shows the defaults that there are; text that is written in lines, such as examples, stays so."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        said, default = action.help, action.default
        if said is None or default in (None, "", [], {}, argparse.SUPPRESS) or "(default" in said:
            return said
        if isinstance(default, bool):
            default = str(default).lower()
        if isinstance(default, list):
            default = " ".join(map(str, default))
        return f"{said} (default: {str(default).replace('%', '%%')})"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" not in text:
            return super()._fill_text(text, width, indent)
        return "".join(indent + line for line in text.splitlines(keepends=True))


def check_words(parser: argparse.ArgumentParser, words: Sequence[str], where: str) -> None:
    """Read words as a command would, and name where they stand if it cannot, as argparse does not.

    Raises:
        ConfigError: names ``where`` and the option.
    """

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ConfigError(f"{where}: {plain(message, 300)}")

    parser.__class__ = Parser
    parser.parse_args(words)


def str2bool(value: str) -> bool:
    """Read ESPnet's `true`/`false` options."""
    if value.lower() in ("true", "yes", "1"):
        return True
    if value.lower() in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"must be true or false: {value!r}")


def count(text: str) -> int:
    """Read a number of things, at least one."""
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1: {text}")
    return value


def add_split(parser: argparse.ArgumentParser, nj: int = 1) -> None:
    """Add the options of a program whose work can be split among jobs."""
    parser.add_argument(
        "--nj", type=count, default=nj, help="number of processes here, or of jobs (see --job)"
    )
    parser.add_argument(
        "--job",
        type=count,
        metavar="JOB",
        help="do one split of the utterances only, from 1 to --nj. Splits are kept in "
        "OUT_DIR/.splitNJ; the same command without --job does those that are lacking, and joins all",
    )


def check_job(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program where --job is beyond --nj."""
    if args.job is not None and args.job > args.nj:
        parser.error(f"--job {args.job}: there are {args.nj} (--nj)")


def split_codes(value: str) -> list[str]:
    """Read a list of languages or tasks, separated by commas or spaces."""
    return value.replace(",", " ").split()
