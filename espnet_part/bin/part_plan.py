"""Plan a training before it is started: memory, data, arithmetic and time of each phase."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_part.command import command, count
from espnet_part.train.arguments import PARALLEL

GPUS = 8


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_plan",
        allow_abbrev=False,  # each option has two spellings, of which an abbreviation fits both
        description="Say of each phase what it trains, whether it fits into a GPU's memory and what "
        "to change where it does not, how much data it reads, and how long it takes. Computed from "
        "the configuration alone: nothing is downloaded, no GPU is needed. --check says how well "
        "a plan fits a training that has run.",
        epilog="example: part_plan --config conf/system/part/stage1.yaml conf/system/part/stage2.yaml "
        "conf/system/part/stage3.yaml --model_config conf/model/whisper_large_v3_qwen2.5_1.5b.yaml "
        "--gpus 8 --gpu_memory 80 --hours_of_audio 5000 --peak_tflops 312; part_plan --check exp/part. "
        "Exit status: 0 when every phase fits, and after a check; 1 when one does not (or after an error, "
        "with a line that says so), 2 when an option is wrong.",
    )

    def add(name: str, help: str, metavar: str = "N", **options: Any) -> None:
        # --gpu_memory is --gpu-memory as well
        spellings = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
        if options.get("default") is not None:
            help += " (default: %(default)g)"
        parser.add_argument(*spellings, help=help, metavar=metavar, **options)

    add("config", nargs="+", metavar="STAGE.yaml", help="stage files, in order")
    add("model_config", metavar="MODEL.yaml", help="the model")
    add(
        "check",
        metavar="EXP",
        help="compare with what the training in this directory, or the chain in its stage1, stage2, … has "
        "logged so far, phase by phase. Without --config, --model_config and --data_stats its own are "
        "taken; run it where the training ran",
    )
    add(
        "gpus",
        type=count,
        help=f"number of GPUs, over all machines (default: {GPUS}, or the run's)",
    )
    add("gpu_memory", type=_positive, default=80.0, help="memory of a GPU in GB, as it is sold")
    add(
        "hours_of_audio",
        type=_positive,
        help="hours of audio in the training data; needed without --data_stats",
    )
    add(
        "data_stats",
        metavar="mixture.json",
        help="what part_collect_stats (stage 5 of a recipe) counted: real lengths and shares",
    )
    add(
        "utterance_seconds",
        type=_positive,
        default=6.0,
        help="length of an average utterance, without --data_stats",
    )
    add("padding", type=_share, default=0.1, help="share of a batch that is padding")
    add(
        "peak_tflops",
        type=_positive,
        default=312.0,
        help="TFLOP/s of a GPU, dense bfloat16: A100 312, H100 SXM 989, RTX 4090 165",
    )
    add("mfu", type=_utilization, default=0.35, help="share of --peak_tflops that is reached")
    add(
        "gpu_tflops",
        type=_positive,
        help="TFLOP/s that a GPU really reaches, in place of --peak_tflops and --mfu",
    )
    add(
        "reserve",
        type=_number,
        default=3.0,
        help="GB of a GPU's memory for its context, communication and gaps",
    )
    for name, said in (
        ("batch_bins", "in place of the stage files'"),
        ("accum_grad", "in place of the stage files'"),
        ("max_bins_per_gpu", "in place of the stage files'"),
    ):
        add(name, type=count, help=said)
    add(
        "parallel",
        metavar="ddp|fsdp2",
        choices=PARALLEL,
        help="in place of the stage files': whether each GPU holds the model or a share of it",
    )
    add("json", metavar="FILE", help="also write everything, unrounded")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    parser = get_parser()
    args = parser.parse_args(cmd)
    if args.check is None and not (args.config and args.model_config):
        parser.error("give --config and --model_config, or --check")
    from espnet_part.config import load_yaml
    from espnet_part.errors import ConfigError
    from espnet_part.files import atomic_write
    from espnet_part.model.config import ModelConfig, load_model_file
    from espnet_part.model.protected import check_quantized
    from espnet_part.plan.check import Planned, check_notes, check_runs, check_table
    from espnet_part.plan.data import assume_data, read_data
    from espnet_part.plan.operations import describe_model
    from espnet_part.plan.plan import Hardware, plan_stage
    from espnet_part.plan.report import as_json, as_markdown
    from espnet_part.plan.run import read_runs
    from espnet_part.schedule.describe import model_table
    from espnet_part.stage_file import read_schedule

    runs = [] if args.check is None else read_runs(args.check)
    configs = args.config or [run.config for run in runs]
    if runs and len(configs) != len(runs):
        raise ConfigError(f"--config: {args.check} holds {len(runs)} trainings, not {len(configs)}")
    model_config = args.model_config or runs[0].config
    values = load_model_file(model_config) if args.model_config else runs[0].options
    data_stats = args.data_stats or (runs and args.hours_of_audio is None and runs[0].data_stats)
    if data_stats:
        data = read_data(data_stats, args.hours_of_audio)
    elif args.hours_of_audio is not None:
        data = assume_data(args.hours_of_audio, args.utterance_seconds)
    else:
        raise ConfigError("give --hours_of_audio, or --data_stats with a mixture.json")
    config = ModelConfig.from_mapping(values, model_config)
    model = describe_model(config)
    peak, mfu = args.peak_tflops, args.mfu
    if args.gpu_tflops is not None:
        peak, mfu = args.gpu_tflops, 1.0
    gpus = args.gpus or (runs[0].processes if runs else GPUS)
    if gpus is None:
        raise ConfigError(f"{configs[0]}: does not say how many processes trained: give --gpus")
    hardware = Hardware(gpus, args.gpu_memory, peak, mfu, args.reserve)
    overrides = {
        key: value
        for key in ("batch_bins", "accum_grad", "max_bins_per_gpu", "parallel")
        if (value := getattr(args, key)) is not None
    }
    stages = []
    for path in configs:
        options, schedule = {**load_yaml(path), **overrides}, read_schedule(path)
        for trainable in schedule.resolve(list(model.shapes), model.protected):
            check_quantized(config.llm_conf, trainable.names)
        phases = plan_stage(path, options, schedule, model, data, hardware, padding=args.padding)
        stages.append(Planned(options, schedule, phases))
    plans = [plan for stage in stages for plan in stage.phases]
    result = as_json(plans, hardware, data)
    print(f"{model_config}\n\n{model_table(model.shapes)}\n")
    if runs:
        knows_speed = args.gpu_tflops is not None or all(run.on_gpu for run in runs)
        checks = check_runs(runs, stages, model, hardware, args.padding, knows_speed)
        notes = check_notes(runs, stages, knows_speed)
        print(check_table(checks, notes))
        result["check"] = {"phases": [check.as_json() for check in checks], "notes": notes}
    else:
        print(as_markdown(plans, hardware, data, args.padding), end="")
    if args.json is not None:
        with atomic_write(Path(args.json)) as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    if not runs and not all(plan.fits for plan in plans):
        sys.exit(1)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a number: {text}")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be positive: {text}")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be in [0, 1): {text}")
    return value


def _utilization(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be in (0, 1]: {text}")
    return value


if __name__ == "__main__":
    main()
