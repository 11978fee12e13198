"""What every command shares: one clear line when it fails, and the types of its options."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from espnet_part.display import plain
from espnet_part.errors import UserError

Main = Callable[..., None]


def command(main: Main) -> Main:
    """Turn a user's error, or the system's, into one line on stderr and exit status 1."""

    @functools.wraps(main)
    def run(cmd: Sequence[str] | None = None) -> None:
        module = main.__module__
        name = Path(sys.argv[0]).stem if module == "__main__" else module.rsplit(".", 1)[-1]
        try:
            main(cmd)
        except UserError as error:
            print(f"{name}: error: {error}", file=sys.stderr)
            sys.exit(1)
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


def str2bool(value: str) -> bool:
    """Read ESPnet's `true`/`false` options."""
    if value.lower() in ("true", "yes", "1"):
        return True
    if value.lower() in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"must be true or false: {value!r}")


def split_codes(value: str) -> list[str]:
    """Read a list of languages or tasks, separated by commas or spaces."""
    return value.replace(",", " ").split()
