"""Train and compare what a recipe's conf/evidence.yaml declares, over seeds, and write EVIDENCE.md."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from espnet_part.command import HelpFormatter, command, count


def positive(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"must be a number above 0: {text}")
    return value


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_evidence",
        description="Trains the systems that conf/evidence.yaml declares, with several seeds and in several "
        "settings, each run by the recipe's own part.sh, and writes EVIDENCE.md with tables, tests and "
        "figures. Whatever ends it, the same command goes on; a run that fails does not stop the others.",
        epilog="example: part_evidence --recipe egs2/mini_multilingual/part --jobs 2 --max_hours 12",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--recipe", default=".", metavar="DIR", help="egs2/CORPUS/part")
    parser.add_argument(
        "--config", metavar="YAML", help="by default conf/evidence.yaml of the recipe"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where the runs and EVIDENCE.md go; by default the recipe's directory evidence",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="QUESTION", help="may be repeated"
    )
    parser.add_argument("--jobs", type=count, default=1, help="runs side by side")
    parser.add_argument(
        "--max_hours", type=positive, metavar="H", help="begin nothing new after so many hours"
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="say what would run and how long it takes, and end"
    )
    parser.add_argument(
        "--report", action="store_true", help="only write EVIDENCE.md of what is there"
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    from espnet_part.errors import UserError
    from espnet_part.evidence.costs import cost_table, shares
    from espnet_part.evidence.document import write_evidence
    from espnet_part.evidence.plan import load_plan
    from espnet_part.evidence.record import Evidence
    from espnet_part.evidence.runner import OutOfTime, Runner
    from espnet_part.lock import locked

    recipe = Path(args.recipe).resolve()
    plan = load_plan(args.config or recipe / "conf/evidence.yaml")
    out = Path(args.out).resolve() if args.out else recipe / "evidence"
    evidence = Runner(plan, recipe, out, args.only)
    if not args.report:
        print(cost_table(*shares(evidence), args.jobs), flush=True)
    if args.dry_run:
        return
    with locked(out / ".lock", f"the evidence in {out}"):
        late = None
        if not args.report:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, _stop)
            try:
                evidence.work(args.jobs, args.max_hours)
            except OutOfTime as error:
                late = error
        # of all questions: what was run with another --only is there as well
        for path in write_evidence(Evidence(plan, recipe, out), out):
            print(path)
        if late is not None:
            print(f"part_evidence: {late}")
    if evidence.failures:
        names = ", ".join(evidence.failures)
        raise UserError(f"failed: {names}; once it is mended, the same command goes on")


def _stop(number: int, frame: object) -> NoReturn:
    """End at once: what runs is on leashes that end with this process, and goes on when typed again."""
    name = signal.Signals(number).name
    print(
        f"part_evidence: stopped by {name}, and what it had started; the same command goes on from here",
        file=sys.stderr,
        flush=True,
    )
    os._exit(128 + number)


if __name__ == "__main__":
    main()
