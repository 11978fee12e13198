"""The options of the trainer: ESPnet's own by their names, and a few of ours."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from espnet2.utils.build_dataclass import build_dataclass
from espnet2.utils.types import str_or_none

from espnet_part.errors import ConfigError
from espnet_part.schedule.schedule import Schedule


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
    keep_nbest_models: int | Sequence[int]
    best_model_criterion: Sequence[Sequence[str]]
    val_scheduler_criterion: Sequence[str]
    scheduler: str | None
    scheduler_conf: dict[str, Any]
    scheduler_length: str | None
    max_nonfinite_steps: int
    max_bad_share: float
    part_init: str | None
    phases: Any
    config: str | None
    use_matplotlib: bool
    use_tensorboard: bool
    use_wandb: bool
    unused_parameters: bool
    gradient_as_bucket_view: bool
    ddp_comm_hook: str | None

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> TrainerOptions:
        """Read the options.

        Raises:
            ConfigError: an ESPnet option that has no meaning under a schedule.
        """
        if args.patience is not None:
            raise ConfigError("patience: the schedule decides the length; remove it")
        if args.use_deepspeed or args.sharded_ddp:
            raise ConfigError("use_deepspeed, sharded_ddp: not supported; DDP is used")
        return build_dataclass(cls, args)

    @property
    def schedule(self) -> Schedule:
        return Schedule.from_list(self.phases, self.config or "phases")

    @property
    def nbest(self) -> list[int]:
        """The numbers of models to average, at least one."""
        value = self.keep_nbest_models
        return [value] if isinstance(value, int) else list(value) or [1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the trainer's own options to ESPnet's."""
    group = parser.add_argument_group("PART trainer")
    group.add_argument(
        "--scheduler_length",
        type=str_or_none,
        default=None,
        help="The option of --scheduler that is set to each phase's number of steps, such as "
        "max_steps of tristagelr",
    )
    group.add_argument(
        "--save_interval",
        type=int,
        default=None,
        help="Steps between checkpoints. One is also written at every validation "
        "(each --num_iters_per_epoch steps) and at the end of each phase",
    )
    group.add_argument(
        "--max_nonfinite_steps",
        type=int,
        default=10,
        help="Stop after this many steps in a row whose loss or gradient is not finite",
    )
    group.add_argument(
        "--max_bad_share",
        type=float,
        default=0.02,
        help="Stop when more than this share of the utterances read so far was bad",
    )
