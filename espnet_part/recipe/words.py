"""The words of a string, for `utils/words.sh`: each on stdout, with a null byte after it."""

from __future__ import annotations

import shlex
import sys


def main() -> None:
    try:
        words = shlex.split(sys.argv[1])
    except ValueError:  # a quote without its partner; the caller says so
        sys.exit(1)
    sys.stdout.write("".join(f"{word}\0" for word in words))


if __name__ == "__main__":
    main()
