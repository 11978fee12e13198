"""Show how far the experiments of a recipe are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_part.command import HelpFormatter, command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_status",
        description="Shows the experiments of a recipe: which stages are done, at work or stopped, how "
        "far the one at work is, and the processes and Slurm's jobs that are at it. Called in a "
        "recipe's directory, or with the directory of its experiments.",
        epilog="example: part_status exp",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("expdir", nargs="*", default=["exp"], help="directories of experiments")
    parser.add_argument(
        "--json", action="store_true", help="a JSON object a line, for each experiment"
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    from espnet_part.recipe.status import experiments, to_json

    for name in args.expdir:
        found = list(experiments(Path(name)))
        for status in found:
            print(to_json(status) if args.json else status)
        if not found and not args.json:
            print(f"{name}: no experiment has begun")


if __name__ == "__main__":
    main()
