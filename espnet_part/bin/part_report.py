"""Collect scores, learning curves and stage times of a recipe into RESULTS.md, charts and report.html."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from espnet_part.command import HelpFormatter, command, str2bool
from espnet_part.errors import ConfigError


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_report",
        description="Writes RESULTS.md, results.json, figures/*.png and report.html, one file to look "
        "at without a network, from score.json files (part_score) and history.jsonl files (part_train).",
        epilog="example: part_report --expdir exp --system PART=exp/part_stage3/decode "
        "--system Baseline=exp/baseline/decode --train PART=exp/part_stage1,exp/part_stage2",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--expdir", default="exp", metavar="DIR", help="the recipe's exp directory")
    parser.add_argument(
        "--out_dir", metavar="DIR", help="where the results go; by default the exp directory"
    )
    parser.add_argument(
        "--system",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a scored decoding directory, or one that holds one a test set; may be repeated, the "
        "first is the recipe's own. By default all that are found below the exp directory",
    )
    parser.add_argument(
        "--train",
        action="append",
        default=[],
        metavar="NAME=DIR[,DIR...]",
        help="trainings whose curves are drawn as one chain; may be repeated. By default each "
        "training below the exp directory on its own",
    )
    parser.add_argument(
        "--stage_times",
        metavar="FILE",
        help='lines {"stage": 7, "name": "PART stage 1", "seconds": 12.3}; by default '
        "stage_times.jsonl of the exp directory, if there",
    )
    parser.add_argument(
        "--paired",
        type=str2bool,
        default=True,
        metavar="true|false",
        help="test each system against the first, from the hypotheses and references that "
        "score.json names",
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=DIR[,DIR...]",
        help="data directories of a training, validation or test set for report.html: sizes, losses "
        "and audio are shown from them; where there are several, such as the prepared and the formatted "
        "one, the last is what is used. May be repeated. By default those that the trainings and "
        "scores name",
    )
    parser.add_argument(
        "--analysis",
        metavar="DIR",
        help="what part_analyze has left, for report.html; by default `analysis` in the exp directory",
    )
    parser.add_argument("--title", default="RESULTS", help="first heading")
    parser.add_argument(
        "--note", action="append", default=[], metavar="TEXT", help="a paragraph for the beginning"
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level=logging.WARNING, format="part_report: %(levelname)s: %(message)s")
    from espnet_part.report.page.build import write_page
    from espnet_part.report.recipe_results import write_results
    from espnet_part.report.results import read_results
    from espnet_part.report.systems import find_systems, find_trainings, read_system

    expdir = Path(args.expdir)
    for option, pairs in (
        ("--system", args.system),
        ("--train", args.train),
        ("--data", args.data),
    ):
        names = [_pair(pair)[0] for pair in pairs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"{option}: two have the name {twice!r}")
    if args.stage_times and not Path(args.stage_times).is_file():
        raise ConfigError(f"--stage_times {args.stage_times}: no such file")
    if args.system:
        systems = [read_system(n, Path(d)) for n, d in map(_pair, args.system)]
    else:
        systems = find_systems(expdir)
    if args.train:
        trainings = dict(map(_directories, args.train))
    else:
        trainings = find_trainings(expdir)
    if not systems and not trainings:
        lacks = "holds neither a score.json nor a history.jsonl"
        raise ConfigError(f"{expdir}: {lacks if expdir.is_dir() else 'there is no such directory'}")
    results = read_results(
        systems,
        trainings,
        Path(args.stage_times) if args.stage_times else expdir / "stage_times.jsonl",
        args.title,
        args.note,
        args.paired,
    )
    out_dir = Path(args.out_dir or expdir)
    for path in write_results(out_dir, results):
        print(path)
    analysis = Path(args.analysis) if args.analysis else expdir / "analysis"
    print(write_page(out_dir, results, dict(map(_directories, args.data)), analysis))


def _pair(value: str) -> tuple[str, str]:
    name, sign, directory = value.partition("=")
    if not (name and sign and directory):
        raise ConfigError(f"must be NAME=DIR: {value!r}")
    return name, directory


def _directories(value: str) -> tuple[str, list[Path]]:
    name, directories = _pair(value)
    return name, [Path(directory) for directory in directories.split(",")]


if __name__ == "__main__":
    main()
