"""Show a schedule as a table, without loading a weight."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_part.command import command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Show what each phase of a stage trains, on which tasks, how long and how fast, "
        "and refuse what is wrong in it. Reads configuration only: no weights, no data.",
        epilog="example: part_describe --config conf/system/part/stage2.yaml "
        "--model_config conf/model/whisper_large_v3_qwen2.5_1.5b.yaml",
    )
    parser.add_argument(
        "--config", required=True, nargs="+", metavar="STAGE.yaml", help="one or more stage files"
    )
    parser.add_argument(
        "--model_config",
        metavar="MODEL.yaml",
        help="the model; without it the selectors are shown but not checked",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    from espnet_part.schedule.describe import model_table, schedule_table
    from espnet_part.stage_file import read_schedule, read_shapes

    shapes = None
    protected: tuple[str, ...] = ()
    if args.model_config is not None:
        shapes, protected = read_shapes(args.model_config)
        print(f"{args.model_config}\n{model_table(shapes)}\n")
    for path in args.config:
        print(f"{path}\n{schedule_table(read_schedule(path), shapes, protected)}\n")


if __name__ == "__main__":
    main()
