"""What the fuzzers share: hostile values and bytes, and the counting of what a reader makes of them.

A reader may accept a case or refuse it with a `UserError`. Everything else is a fault of ours: another
exception (a user would see a traceback), an answer that takes longer than a few seconds, a process that
dies.
"""

from __future__ import annotations

import argparse
import collections
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from espnet_part.errors import UserError

#: As YAML; most of them as JSON, too.
VALUES = (
    *("null", "true", "0", "-1", "3", "1.5", "1e400", ".nan", "-.inf", '""', '"x"', "[]", "{}"),
    *(
        "2024-01-31",
        "12:30:45",
        "[1, 2]",
        "[[[]]]",
        "{a: 1}",
        "[{name: x}]",
        '"\\e[2J"',
        "!!set {a}",
    ),
    *('"../../../etc/passwd"', '"/dev/zero"', '"/dev/stdin"', "9" * 5000, "9" * 30),
    f'"{"x" * 100_000}"',
    *("[" * 3000 + "]" * 3000, "[" + "1, " * 50_000 + "1]", "!!python/name:os.system", "&a [*a]"),
    *('"\\u202e"', '"\\0"', '"a\\nb"', '"{speech}{speech}"', "no", "0x7fffffffffffffff", "1_000"),
)


def damaged_bytes(content: bytes, chance: random.Random) -> bytes:
    """Bytes with one thing done to them: flipped, cut, doubled, removed or put in."""
    data = bytearray(content)
    place = chance.randrange(len(data) + 1)
    size = chance.choice((1, 1, 2, 8, 100, 1000))
    kind = chance.randrange(6)
    if kind == 0 and data:
        data[place % len(data)] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[place:]
    elif kind == 2:
        del data[place : place + size]
    elif kind == 3:
        data[place:place] = chance.randbytes(size)
    elif kind == 4:
        data[place:place] = data[place : place + size]
    else:
        data[place : place + size] = bytes(size)
    return bytes(data)


def damaged_lines(text: str, chance: random.Random) -> str:
    """YAML with the value of one line, or a whole line, replaced by a hostile one."""
    lines = text.splitlines() or [""]
    number = chance.randrange(len(lines))
    line = lines[number]
    key, colon, _ = line.partition(":")
    hostile = chance.choice(VALUES)
    kind = chance.randrange(5)
    if kind == 0 or not colon:
        lines[number] = hostile
    elif kind == 1:
        lines[number] = f"{hostile[:50]}:{line.partition(':')[2]}"
    elif kind == 2:
        lines.insert(number, line)
    elif kind == 3:
        lines[number] = f"{key}:"
    else:
        lines[number] = f"{key}: {hostile}"
    return "\n".join(lines) + "\n"


def read_options(description: str, cases: int) -> argparse.Namespace:
    """The options of a fuzzer: ``n``, the number of cases, and ``seed``."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--n", type=int, default=cases, help="cases")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Count:
    """The outcomes of a fuzzer's cases.

    Args:
        seconds: an answer that takes longer is a fault, and ten times as long a hang.
    """

    def __init__(self, seconds: float = 2.0) -> None:
        self.seconds = seconds
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self.slowest = 0.0

    def run(self, name: str, read: Callable[[], Any]) -> str:
        """Let ``read`` answer, and count how it did: accepted, refused, traceback, slow or hang."""
        start = time.monotonic()
        try:
            with _alarm(10 * self.seconds):
                read()
            outcome = "accepted"
        except UserError as error:
            said = str(error)
            outcome = "refused" if said.isprintable() and len(said) < 2000 else "unclear message"
            if outcome != "refused":
                self.faults.append(f"{name}: {said[:300]!r}")
        except _Hang:
            outcome = "hang"
            self.faults.append(f"{name}: no answer after {10 * self.seconds:.0f} s")
        except Exception as error:
            outcome = "traceback"
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            self.faults.append(f"{name}: {type(error).__name__} at {where}: {str(error)[:200]!r}")
        took = time.monotonic() - start
        self.slowest = max(self.slowest, took)
        if took > self.seconds and outcome != "hang":
            self.outcomes["slow"] += 1
            self.faults.append(f"{name}: {took:.1f} s")
        self.outcomes[outcome] += 1
        return outcome

    def accepted_in_silence(self, name: str) -> None:
        """Count a case that was accepted and should not have been."""
        self.outcomes["accepted in silence"] += 1
        self.faults.append(f"{name}: accepted")

    def finish(self) -> None:
        """Print the counts and the faults, and end with status 1 where there is one."""
        for fault in self.faults:
            print(fault.encode("ascii", "backslashreplace").decode())
        shown = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
        print(f"{shown}; slowest {self.slowest:.2f} s")
        sys.exit(bool(self.faults))


class _Hang(BaseException):
    pass


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
