"""The options of the trainer: ESPnet's own by their names, and a few of ours."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from espnet2.tasks.abs_task import scheduler_classes
from espnet2.utils.build_dataclass import build_dataclass

from espnet_part.errors import ConfigError, did_you_mean
from espnet_part.model.protected import NOT_SHARED
from espnet_part.schedule.schedule import Schedule
from espnet_part.train.arguments import (
    FOLLOWED,
    MENDS,
    PARALLEL,
    add_data_arguments,
    add_model_arguments,
    add_trainer_arguments,
)
from espnet_part.train.criteria import criterion_errors


@dataclasses.dataclass
class TrainerOptions:
    """See ``part_train --help``; names and meanings are ESPnet's where it has them."""

    output_dir: str
    seed: int
    resume: bool
    use_amp: bool
    accum_grad: int
    grad_clip: float
    grad_clip_type: float
    log_interval: int | None
    num_iters_per_epoch: int | None
    save_interval: int | None
    save_minutes: float | None
    keep_checkpoints: int
    keep_checkpoint_hours: float | None
    hang_minutes: float | None
    dist_timeout: float | None
    keep_nbest_models: int | Sequence[int]
    best_model_criterion: Sequence[Sequence[str]]
    val_scheduler_criterion: Sequence[str]
    scheduler: str | None
    scheduler_conf: dict[str, Any]
    scheduler_length: str | None
    max_nonfinite_steps: int
    spike_deviations: float | None
    max_rewinds: int
    max_bad_share: float
    average_last: int
    part_init: str | None
    phases: Any
    config: str | None
    use_matplotlib: bool
    use_tensorboard: bool
    use_wandb: bool
    parallel: str
    unused_parameters: bool
    gradient_as_bucket_view: bool
    ddp_comm_hook: str | None

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> TrainerOptions:
        """Read the options.

        Raises:
            ConfigError: a criterion that no validation gives.
        """
        options = build_dataclass(cls, args)
        errors = criterion_errors(vars(options), options.schedule.tasks)
        if errors:
            raise ConfigError("; ".join(errors))
        return options

    @property
    def schedule(self) -> Schedule:
        return Schedule.from_list(self.phases, self.config or "phases")

    @property
    def nbest(self) -> list[int]:
        """The numbers of models to average, at least one."""
        value = self.keep_nbest_models
        return [value] if isinstance(value, int) else list(value) or [1]


def refuse_foreign(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse options that would be ignored.

    Args:
        args: what was given. parser: with ESPnet's defaults, as `PARTTask.get_parser` makes it.

    Raises:
        ConfigError: an option of ESPnet's that has no meaning under a schedule.
    """
    own = argparse.ArgumentParser()
    for add in (add_model_arguments, add_data_arguments, add_trainer_arguments):
        add(own)
    followed = FOLLOWED | {action.dest for action in own._actions}
    for action in parser._actions:
        default = parser.get_default(action.dest)
        value = getattr(args, action.dest, default)
        if action.dest not in followed and value != default:
            mend = f"; {MENDS[action.dest]}" if action.dest in MENDS else ""
            raise ConfigError(
                f"{action.dest}: {value!r} would have no effect for this task{mend} (leave it at "
                f"{default!r})"
            )


def check_values(args: argparse.Namespace) -> None:
    """Refuse values that would end in an error of a library, before anything is built.

    Raises:
        ConfigError: names the option.
    """
    for name in (
        *("seed", "num_workers", "ngpu", "save_interval", "average_last", "log_interval"),
        *("max_rewinds", "shuffle_window"),
    ):
        value = getattr(args, name)
        if value is not None and value < 0:
            raise ConfigError(f"{name}: must not be negative: {value}")
    for name in (
        *("save_minutes", "keep_checkpoint_hours", "hang_minutes", "dist_timeout"),
        "spike_deviations",
    ):
        value = getattr(args, name)
        if value is not None and not 0 < value < 1e9:
            raise ConfigError(f"{name}: must be a number above 0: {value}")
    for name in ("accum_grad", "num_threads", "num_iters_per_epoch", "keep_checkpoints"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name}: must be positive: {value}")
    if args.ngpu > 0 and torch.cuda.device_count() < (
        args.ngpu if args.multiprocessing_distributed else 1
    ):
        raise ConfigError(
            f"ngpu: {args.ngpu} asked for, and torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} GPUs here; --ngpu 0 trains on the CPU"
        )
    if args.parallel not in PARALLEL:
        raise ConfigError(f"parallel: must be one of {', '.join(PARALLEL)}: {args.parallel!r}")
    if args.parallel == "fsdp2":
        for name in ("unused_parameters", "ddp_comm_hook"):
            if getattr(args, name):
                raise ConfigError(f"{name}: has no meaning beside --parallel fsdp2; leave it out")
        if (args.llm_conf or {}).get("quantization"):
            raise ConfigError(NOT_SHARED)
    if args.use_tf32 and args.use_amp:
        raise ConfigError("use_tf32: has no meaning beside --use_amp true; leave out one of them")
    if args.scheduler is not None:
        scheduler = scheduler_classes.get(args.scheduler)
        if scheduler is None:
            raise ConfigError(f"scheduler: {did_you_mean(args.scheduler, scheduler_classes)}")
        try:
            inspect.signature(scheduler).bind(None, **args.scheduler_conf)
        except TypeError as error:
            raise ConfigError(f"scheduler_conf: {error}") from None
