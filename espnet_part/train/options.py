"""The options of the trainer: ESPnet's own by their names, and a few of ours."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from espnet2.utils.build_dataclass import build_dataclass

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
    average_last: int
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
            ConfigError: a criterion that no validation gives.
        """
        options = build_dataclass(cls, args)
        keys = {
            f"{kind}{suffix}"
            for kind in ("loss", "acc")
            for suffix in ("", *(f"_{task}" for task in options.schedule.tasks))
        }
        for criterion in options.best_model_criterion:
            split, key, mode = criterion
            if split not in ("train", "valid") or key not in keys or mode not in ("min", "max"):
                raise ConfigError(
                    f"best_model_criterion: {list(criterion)} must be train or valid, one of "
                    f"{', '.join(sorted(keys))}, and min or max"
                )
        return options

    @property
    def schedule(self) -> Schedule:
        return Schedule.from_list(self.phases, self.config or "phases")

    @property
    def nbest(self) -> list[int]:
        """The numbers of models to average, at least one."""
        value = self.keep_nbest_models
        return [value] if isinstance(value, int) else list(value) or [1]


#: ESPnet's options that have no meaning under a schedule: the value that does nothing, the mend.
FOREIGN: dict[str, tuple[Any, str]] = {
    "init_param": ([], "use --part_init (safetensors), which keeps what it loads"),
    "freeze_param": ([], "the phases' `train` says what trains"),
    "max_epoch": (40, "give the phases `steps` or `epochs`"),
    "patience": (None, "the schedule decides the length"),
    "use_adapter": (False, "use `lora_conf` in the model file"),
    "use_deepspeed": (False, "DDP is used"),
    "sharded_ddp": (False, "DDP is used"),
    "grad_noise": (False, "there is none"),
    "no_forward_run": (False, "try the data with part_validate_data --check_audio true"),
    "nbest_averaging_interval": (0, "models are averaged at the end of the stage"),
    "train_dtype": ("float32", "use --use_amp true for bfloat16, and `llm_conf.dtype`"),
    "train_data_path_and_name_and_type": ([], "use --train_data_dir"),
    "valid_data_path_and_name_and_type": ([], "use --valid_data_dir"),
    "multiple_iterator": (False, "give several directories to --train_data_dir"),
    "collect_stats": (False, "use part_collect_stats"),
}


def refuse_foreign(args: argparse.Namespace) -> None:
    """Refuse options that would be ignored.

    Raises:
        ConfigError: an option of ESPnet's that has no meaning under a schedule.
    """
    for name, (nothing, mend) in FOREIGN.items():
        value = getattr(args, name, nothing)
        if value != nothing:
            raise ConfigError(f"{name}: {value!r} would have no effect for this task; {mend}")
