"""An option that would be ignored, or fail late, is refused in one line."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from espnet_part.errors import ConfigError
from espnet_part.task import PARTTask
from espnet_part.train.options import check_values, refuse_foreign


def parsed(*words: str) -> argparse.Namespace:
    return PARTTask.get_parser().parse_args(["--output_dir", "exp", *words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--drop_last_iter", "true"), "drop_last_iter: True would have no effect"),
        (("--init_param", "x.pth"), "use --part_init"),
        (("--num_att_plot", "3"), "num_att_plot"),
        (("--save_strategy", "adapter_only"), "what was ever trained is saved"),
        (("--wandb_model_log_interval", "1"), "wandb_model_log_interval"),
        (("--max_batch_size", "3"), "use --max_batch_size_per_gpu"),
        (("--create_graph_in_tensorboard", "true"), "create_graph_in_tensorboard"),
    ],
)
def test_what_is_not_followed_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        refuse_foreign(parsed(*words), PARTTask.get_parser())


def test_every_option_is_followed_or_refused() -> None:
    """Also those that the next version of ESPnet adds."""
    parser = PARTTask.get_parser()
    parser.add_argument("--of_next_year", type=int, default=0)
    refuse_foreign(parser.parse_args(["--of_next_year", "0"]), parser)
    with pytest.raises(ConfigError, match="of_next_year: 1 would have no effect"):
        refuse_foreign(parser.parse_args(["--of_next_year", "1"]), parser)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": -1}, "seed: must not be negative"),
        ({"num_workers": -1}, "num_workers: must not be negative"),
        ({"shuffle_window": -1}, "shuffle_window: must not be negative"),
        ({"accum_grad": 0}, "accum_grad: must be positive"),
        ({"num_threads": 0}, "num_threads: must be positive"),
        ({"keep_checkpoints": 0}, "keep_checkpoints: must be positive"),
        ({"keep_checkpoint_hours": 0.0}, "keep_checkpoint_hours: must be a number above 0"),
        ({"ngpu": 99, "multiprocessing_distributed": True}, "ngpu: 99 asked for"),
        ({"use_tf32": True, "use_amp": True}, "use_tf32"),
        ({"parallel": "fsdp"}, "parallel: .*fsdp2"),
        ({"parallel": "fsdp2", "unused_parameters": True}, "unused_parameters: has no meaning"),
        ({"parallel": "fsdp2", "ddp_comm_hook": "bf16_compress_hook"}, "ddp_comm_hook: has no"),
        ({"scheduler": "tristage"}, "scheduler: .*tristagelr"),
        ({"scheduler": "warmuplr", "scheduler_conf": {"steps": 1}}, "scheduler_conf: .*steps"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_that_would_fail_late(changes: dict[str, Any], said: str) -> None:
    args = parsed()
    check_values(args)
    vars(args).update(changes)
    with pytest.raises(ConfigError, match=said):
        check_values(args)
