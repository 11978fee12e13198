"""The options of ``part_train``: PART's own, and those of ESPnet's that most runs set.

Imports neither torch nor any of ESPnet's tasks, so that help costs no time.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_part.model.kinds import Kinds

from espnet_part.command import HelpFormatter
from espnet_part.data import ENCODER_COST
from espnet_part.errors import ConfigError
from espnet_part.parsing import parse_yaml

#: ESPnet's options that most runs set: (name, metavar, default under this task, explanation).
COMMON: tuple[tuple[str, str, Any, str], ...] = (
    ("config", "STAGE.yaml", None, "The stage file: its phases, and values of any option"),
    ("output_dir", "DIR", None, "The experiment: log, checkpoints, trained weights"),
    ("ngpu", "N", 0, "GPUs; 0 trains on the CPU"),
    ("seed", "N", 0, "Of the data's order and of dropout; runs of one seed are alike"),
    ("resume", "true|false", False, "Continue from the newest checkpoint in --output_dir"),
    ("use_amp", "true|false", False, "Train in mixed precision (bfloat16)"),
    (
        "batch_type",
        "numel|unsorted",
        "numel",
        "Fill batches up to --batch_bins (numel), or with --batch_size examples (unsorted)",
    ),
    (
        "batch_bins",
        "N",
        1000000,
        "Size of a batch over all GPUs, however many: LLM positions and encoder frames by "
        "--encoder_cost",
    ),
    ("batch_size", "N", 20, "Examples in a batch over all GPUs, with --batch_type unsorted"),
    (
        "accum_grad",
        "N",
        1,
        "Batches to a step of the optimizer, which so holds --accum_grad x --batch_bins",
    ),
    ("num_workers", "N", 1, "Processes that load data, to each GPU"),
    ("num_iters_per_epoch", "N", None, "Steps between validations"),
    ("optim", "NAME", "adamw", "The optimizer; --optim_conf lr=2e-4 sets its options"),
    ("scheduler", "NAME", None, "The learning rate's; --scheduler_conf sets its options"),
    ("grad_clip", "NORM", 5.0, "Clip gradients to this norm"),
    (
        "keep_nbest_models",
        "N",
        [3],
        "Average the N best models (--best_model_criterion) at the end",
    ),
    ("use_wandb", "true|false", False, "Log to Weights & Biases, too"),
)

#: ESPnet's options that this task follows, beside its own.
FOLLOWED = frozenset(
    (
        *("help", "config", "print_config", "log_level", "dry_run", "output_dir", "ngpu", "seed"),
        *("num_workers", "dist_backend", "dist_init_method", "dist_world_size", "dist_rank"),
        *("local_rank", "dist_master_addr", "dist_master_port", "dist_launcher"),
        *("multiprocessing_distributed", "unused_parameters", "gradient_as_bucket_view"),
        *("ddp_comm_hook", "cudnn_enabled", "cudnn_benchmark", "cudnn_deterministic"),
        *("use_tf32", "val_scheduler_criterion", "best_model_criterion"),
        *("keep_nbest_models", "grad_clip", "grad_clip_type", "accum_grad", "resume", "use_amp"),
        *("log_interval", "use_matplotlib", "use_tensorboard", "use_wandb", "wandb_project"),
        *("wandb_id", "wandb_entity", "wandb_name", "detect_anomaly", "num_iters_per_epoch"),
        *("batch_size", "valid_batch_size", "batch_bins", "valid_batch_bins"),
        *("train_shape_file", "valid_shape_file", "batch_type", "exclude_weight_decay"),
        *("optim", "optim_conf", "scheduler", "scheduler_conf"),
    )
)
#: What to do in place of some others.
MENDS: dict[str, str] = {
    "init_param": "use --part_init (safetensors), which keeps what it loads",
    "freeze_param": "the phases' `train` says what trains",
    "max_epoch": "give the phases `steps` or `epochs`",
    "patience": "the schedule decides the length",
    "use_adapter": "use `lora_conf` in the model file",
    "use_deepspeed": "use --parallel ddp or fsdp2",
    "sharded_ddp": "use --parallel fsdp2",
    "no_forward_run": "try the data with part_validate_data --check_audio true",
    "nbest_averaging_interval": "models are averaged at the end of the stage",
    "train_dtype": "use --use_amp true for bfloat16, and `llm_conf.dtype`",
    "train_data_path_and_name_and_type": "use --train_data_dir",
    "valid_data_path_and_name_and_type": "use --valid_data_dir",
    "multiple_iterator": "give several directories to --train_data_dir",
    "multi_task_dataset": "give several directories to --train_data_dir",
    "collect_stats": "use part_collect_stats",
    "exclude_weight_decay_conf": "--exclude_weight_decay true excludes biases and normalisation",
    "max_batch_size": "use --max_batch_size_per_gpu",
    "valid_batch_type": "validation has the --batch_type of training",
    "early_stopping_criterion": "the schedule decides the length",
    "save_strategy": "what was ever trained is saved",
    "upsampling_factor": "a phase's `tasks` and `language_temperature` say how often data are heard",
}


#: How several processes train one model.
PARALLEL = ("ddp", "fsdp2")

#: What every training needs; the phases usually stand in the stage file.
REQUIRED = ("output_dir", "train_data_dir", "valid_data_dir", "phases")
USAGE = (
    "%(prog)s --config STAGE.yaml --model_config MODEL.yaml\n"
    "         --train_data_dir DIR … --valid_data_dir DIR … --output_dir DIR [options]"
)


def check_given(names: Collection[str]) -> None:
    """Refuse a training without what every one needs.

    Args:
        names: the options that are given, on the command line or in a file.

    Raises:
        ConfigError: names what is missing.
    """
    missing = [f"--{name}" for name in REQUIRED if name not in names]
    if missing:
        raise ConfigError(f"missing: {', '.join(missing)}; `part_train --help` shows an example")


def short_help(prog: str = "part_train") -> str:
    """What ``part_train --help`` prints."""
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=USAGE,
        description="Trains one stage of a speech LLM by the schedule of its stage file. Every "
        "option may\nstand in the model file or the stage file; the command line goes before the "
        "stage\nfile, the stage file before the model file.",
        epilog="example:\n"
        f"  {prog} --config conf/system/part/stage1.yaml \\\n"
        "    --model_config conf/model/whisper_large_v3_qwen2.5_1.5b.yaml \\\n"
        "    --train_data_dir data/train --valid_data_dir data/dev \\\n"
        "    --output_dir exp/part/stage1 --ngpu 1 --resume true\n\n"
        f"{prog} --help_all prints all of ESPnet's options, too.",
        formatter_class=HelpFormatter,
        add_help=False,
    )
    add_model_arguments(parser)
    add_data_arguments(parser)
    add_trainer_arguments(parser)
    group = parser.add_argument_group("ESPnet's options that most runs set")
    for name, metavar, default, said in COMMON:
        group.add_argument(f"--{name}", metavar=metavar, default=default, help=said)
    group = parser.add_argument_group("help")
    group.add_argument("-h", "--help", action="help", help="This text")
    group.add_argument("--help_all", action="help", help="All options")
    return parser.format_help()


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the model file holds: encoder, adapter, LLM, LoRA, prompts."""
    from espnet2.utils.nested_dict_action import NestedDictAction
    from espnet2.utils.types import str_or_none

    from espnet_part.model.adapters import ADAPTERS
    from espnet_part.model.config import DEFAULT_ADAPTER, DEFAULT_ENCODER
    from espnet_part.model.encoders import ENCODERS

    group = parser.add_argument_group("PART model")
    group.add_argument(
        "--model_config",
        metavar="MODEL.yaml",
        help="A file with the options of this group, such as "
        "conf/model/whisper_large_v3_qwen2.5_1.5b.yaml",
    )
    group.add_argument(
        "--encoder",
        default=DEFAULT_ENCODER,
        metavar="KIND",
        help=f"The kind of speech encoder: {_listed(ENCODERS)}",
    )
    group.add_argument(
        "--speech_adapter",
        metavar="KIND",
        default=DEFAULT_ADAPTER,
        help=f"The kind of adapter between encoder and LLM: {_listed(ADAPTERS)}",
    )
    for name, said in (
        ("encoder_conf", "Its options, such as name=openai/whisper-large-v3"),
        ("speech_adapter_conf", "Its options"),
        ("llm_conf", "The LLM, such as name=Qwen/Qwen2.5-1.5B"),
    ):
        group.add_argument(
            f"--{name}", action=NestedDictAction, default={}, metavar="KEY=VALUE", help=said
        )
    group.add_argument(
        "--lora_conf",
        action=NestedDictAction,
        default=None,
        metavar="KEY=VALUE",
        help="LoRA: rank, alpha, dropout, targets; trained only in phases that say `llm.lora`",
    )
    group.add_argument("--prompts", metavar="PROMPTS.yaml", help="The wordings of each task")
    group.add_argument(
        "--part_init",
        type=str_or_none,
        metavar="FILE.safetensors",
        help="Start from what an earlier stage trained",
    )


def _listed(kinds: Kinds) -> str:
    *others, last = kinds.names()
    return f"{', '.join(others)} or {last}" if others else last


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the schedule and the data that it is trained on."""
    from espnet2.utils.types import str_or_none

    group = parser.add_argument_group("PART schedule and data")
    group.add_argument(
        "--phases",
        type=lambda text: parse_yaml(text, "--phases"),
        metavar="YAML",
        help="The schedule; usually in the stage file (--config)",
    )
    for split in ("train", "valid"):
        group.add_argument(
            f"--{split}_data_dir",
            nargs="+",
            metavar="DIR",
            help="Kaldi-style data directories (see part_validate_data)",
        )
        group.add_argument(
            f"--{split}_index_dir",
            type=str_or_none,
            metavar="DIR",
            help="Their index (part_collect_stats), from which examples are read as they are needed: "
            "for data that would fill the memory",
        )
        group.add_argument(
            f"--{split}_feats_dir",
            nargs="+",
            default=[],
            metavar="DIR",
            help="A frozen encoder's cached output (part_extract_features), read in place of "
            "the audio as long as the encoder has not been trained",
        )
    group.add_argument(
        "--max_bins_per_gpu",
        type=float,
        metavar="N",
        default=None,
        help="What a GPU computes at once: it splits its share of a step of --batch_bins x "
        "--accum_grad into micro-batches of at most so many bins. Without it, into --accum_grad "
        "micro-batches. The steps depend on neither this nor the number of GPUs",
    )
    group.add_argument(
        "--max_batch_size_per_gpu",
        type=int,
        metavar="N",
        default=None,
        help="The same in examples, such as with --batch_type unsorted",
    )
    group.add_argument(
        "--shuffle_window",
        type=int,
        metavar="SHARDS",
        default=0,
        help="Of audio in tar shards or arks on a slow file system or in a store: read so many of them at "
        "a time. Each pass over a language of a task takes its shards in a random order, and shuffles what "
        "is in each so many of them. 0: everything is shuffled",
    )
    group.add_argument(
        "--encoder_cost",
        type=float,
        metavar="X",
        default=ENCODER_COST,
        help="What an encoder frame costs beside an LLM position in --batch_bins",
    )
    group.add_argument(
        "--max_llm_length",
        type=int,
        metavar="N",
        default=None,
        help="Leave out examples with more LLM positions (prompt, speech and answer); by default "
        "those beyond the LLM's context",
    )


def add_trainer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the trainer's own options to ESPnet's."""
    from espnet2.utils.types import str_or_none

    group = parser.add_argument_group("PART trainer")
    group.add_argument(
        "--parallel",
        choices=PARALLEL,
        default="ddp",
        help="How several GPUs train one model. ddp: each holds all of it. fsdp2: each holds its share "
        "of the weights, gradients and optimizer states, and blocks are gathered as they run: for a "
        "model too large for one GPU, at the price of more communication. The steps are the same, and "
        "a checkpoint of the one goes on under the other. One GPU has nothing to share",
    )
    group.add_argument(
        "--num_threads",
        type=int,
        metavar="N",
        default=None,
        help="Threads of a process on the CPU; by default torch's own choice",
    )
    group.add_argument(
        "--scheduler_length",
        type=str_or_none,
        metavar="NAME",
        default=None,
        help="The option of --scheduler that is set to each phase's number of steps, such as "
        "max_steps of tristagelr",
    )
    group.add_argument(
        "--save_interval",
        type=int,
        metavar="N",
        default=None,
        help="Steps between checkpoints. One is also written at every validation "
        "(each --num_iters_per_epoch steps), at the end of each phase, and before the training "
        "ends at the signal USR1 or TERM. It is written while the training goes on, from a copy in the "
        "computer's memory",
    )
    group.add_argument(
        "--save_minutes",
        type=float,
        metavar="N",
        default=None,
        help="Minutes after which a checkpoint is due, whatever the number of steps",
    )
    group.add_argument(
        "--keep_checkpoints",
        type=int,
        metavar="N",
        default=2,
        help="Keep the newest so many checkpoints",
    )
    group.add_argument(
        "--keep_checkpoint_hours",
        type=float,
        metavar="N",
        default=None,
        help="Of older checkpoints keep one every so many hours, to go back to",
    )
    group.add_argument(
        "--hang_minutes",
        type=float,
        metavar="N",
        default=None,
        help="A step, or a batch of a validation, that takes longer than so many minutes writes into the log "
        "what each thread of each process is doing",
    )
    group.add_argument(
        "--dist_timeout",
        type=float,
        metavar="SECONDS",
        default=None,
        help="With several processes: how long one waits for another before the training ends and "
        "names it; by default torch's 10 minutes on GPUs, 30 on CPUs",
    )
    group.add_argument(
        "--average_last",
        type=int,
        metavar="N",
        default=0,
        help="Also average the models of the last so many validations of the last phase, into "
        "last.ave_<K>.safetensors",
    )
    group.add_argument(
        "--max_nonfinite_steps",
        type=int,
        metavar="N",
        default=10,
        help="Stop (or go back, see --max_rewinds) after this many steps in a row that left the weights "
        "alone: whose loss or gradient is not finite, or is a spike",
    )
    group.add_argument(
        "--spike_deviations",
        type=float,
        metavar="N",
        default=None,
        help="A step leaves the weights alone whose loss or gradient's norm lies more than so many "
        "standard deviations above the mean of the last 128 steps, such as 6; by default none does",
    )
    group.add_argument(
        "--max_rewinds",
        type=int,
        metavar="N",
        default=0,
        help="Where --max_nonfinite_steps would stop the stage, go back and on with the data that come after "
        "the bad steps, at most so often: to the newest checkpoint of the phase that lies 100 steps or more "
        "before the first bad one, or to the oldest that is kept (see --keep_checkpoints)",
    )
    group.add_argument(
        "--max_bad_share",
        type=float,
        metavar="SHARE",
        default=0.02,
        help="Stop when more than this share of the utterances read so far was bad",
    )
