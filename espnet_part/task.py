"""The task `part` for ESPnet: options and files become objects here, and only here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.tasks.abs_task import AbsTask, optim_classes
from espnet2.train.distributed_utils import DistributedOption
from espnet2.utils.yaml_no_alias_safe_dump import yaml_no_alias_safe_dump

from espnet_part.config import load_yaml
from espnet_part.data.chat import ChatFormat
from espnet_part.data.dataset import BatchConfig
from espnet_part.data.prompts import Prompts
from espnet_part.data.stage_data import (
    LoaderConfig,
    StageData,
    load_examples,
    load_token_counts,
    open_index,
)
from espnet_part.errors import ConfigError, UserError, did_you_mean
from espnet_part.model.build import build_model, load_tokenizer
from espnet_part.model.config import ModelConfig, load_model_file
from espnet_part.model.function import conf_digest
from espnet_part.model.protected import check_quantized
from espnet_part.schedule.activation import activate
from espnet_part.schedule.schedule import Schedule
from espnet_part.train.arguments import (
    REQUIRED,
    USAGE,
    add_data_arguments,
    add_model_arguments,
    check_given,
)
from espnet_part.train.checkpoint import load_trained
from espnet_part.train.learning_rate import parameter_groups
from espnet_part.train.options import check_values, refuse_foreign
from espnet_part.train.precision import hold_in_float32, masters
from espnet_part.train.process import parent_of_ranks, prepared
from espnet_part.train.sharding import shard, take_all_at_once
from espnet_part.train.trainer import PARTTrainer


class PARTTask(AbsTask):
    """Trains a SpeechLLM by a schedule of phases."""

    num_optimizers = 1
    trainer = PARTTrainer
    class_choices_list: ClassVar[list[Any]] = []

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        add_model_arguments(parser)
        add_data_arguments(parser)
        parser.set_defaults(
            required=list(REQUIRED),
            iterator_type="task",
            valid_iterator_type=None,
            batch_type="numel",
            num_att_plot=0,
            optim="adamw",
            best_model_criterion=[("valid", "acc", "max")],
            keep_nbest_models=[3],
            unused_parameters=False,
        )

    @classmethod
    def main(cls, args: argparse.Namespace | None = None, cmd: Sequence[str] | None = None) -> None:
        """Parse ``cmd`` (a stage file may have a ``base``), and train."""
        args = cls.parse(cmd) if args is None else args
        if args.print_config:  # ESPnet's own parses again, without what `parse` adds
            print(yaml_no_alias_safe_dump(vars(args), indent=4, sort_keys=False), end="")
            return
        refuse_foreign(args, cls.get_parser())
        check_values(args)
        with parent_of_ranks():
            super().main(args=args)

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        try:
            with prepared(args):
                super().main_worker(args)
        except UserError as error:
            if not args.multiprocessing_distributed:
                raise
            # a process that ESPnet spawned: nobody above it would turn the error into one line
            print(f"part_train: error: {error}", file=sys.stderr)
            sys.exit(error.status)

    @classmethod
    def parse(cls, cmd: Sequence[str] | None) -> argparse.Namespace:
        """Lay the command line over the stage file over the model file.

        Raises:
            ConfigError: an unknown key in a file.
        """
        parser = cls.get_parser()
        files = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        files.add_argument("--config")
        files.add_argument("--model_config")
        paths, rest = files.parse_known_args(cmd)
        known = {action.dest for action in parser._actions}
        stage = load_yaml(paths.config) if paths.config is not None else {}
        model_config = paths.model_config or stage.get("model_config")
        model = load_model_file(model_config) if model_config is not None else {}
        for path, values in ((model_config, model), (paths.config, stage)):
            for key in values:
                if key not in known:
                    raise ConfigError(f"{path}: {did_you_mean(key, known)}")
            parser.set_defaults(**values)
        parser.usage = USAGE  # before what argparse says of a wrong value; ESPnet's fills screens
        args, unknown = parser.parse_known_args(rest)
        if unknown:
            options = [option for action in parser._actions for option in action.option_strings]
            raise ConfigError(did_you_mean(unknown[0], options, listed=False))
        args.config, args.model_config = paths.config, model_config
        if not args.print_config:
            check_given([name for name, value in vars(args).items() if value is not None])
        return args

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return ()

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return ()

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> Callable[..., Any]:
        raise ConfigError("collect_stats: part_collect_stats takes its place for this task")

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> None:
        return None

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> Any:
        """Build the model, and load what an earlier stage trained (``--part_init``).

        Raises:
            ConfigError: weights in bfloat16 shall train without autocast.
        """
        model = build_model(_model_config(args))
        ever = _ever_trained(args, model)
        in_float32 = masters(model, ever, args.use_amp)
        if args.parallel == "fsdp2" and _world() > 1:
            shard(model, "cuda" if args.ngpu else "cpu", in_float32)
        else:
            hold_in_float32(model, in_float32)
        if args.part_init is not None:
            load_trained(model, args.part_init)
        activate(model, ever)  # all of the stage's; each phase chooses its own
        return model

    @classmethod
    def build_optimizers(cls, args: argparse.Namespace, model: Any) -> list[torch.optim.Optimizer]:
        """One optimizer over all that ever trains in the stage, in named groups."""
        optim_class = optim_classes.get(args.optim)
        if optim_class is None:
            raise ConfigError(f"optim: {did_you_mean(args.optim, optim_classes)}")
        parameters = dict(model.named_parameters())
        ever = _ever_trained(args, model)
        chosen = {name: p for name, p in parameters.items() if name in ever}
        groups = parameter_groups(chosen, args.exclude_weight_decay)
        try:
            optimizer = optim_class(groups, **args.optim_conf)
        except TypeError as error:
            raise ConfigError(f"optim_conf: {error}") from None
        if args.parallel == "fsdp2":
            take_all_at_once(optimizer)
        return [optimizer]

    @classmethod
    def build_task_iter_factory(
        cls, args: argparse.Namespace, iter_options: Any, mode: str
    ) -> AbsIterFactory:
        """ESPnet's hook for a task's own batches; ``mode`` is "train" or "valid"."""
        distributed = iter_options.distributed
        world = _world()
        rank = torch.distributed.get_rank() if distributed else 0
        train = mode == "train"
        accum = args.accum_grad if train else 1
        config = _model_config(args)
        directories = _listed(args.train_data_dir if train else args.valid_data_dir)
        index = args.train_index_dir if train else args.valid_index_dir
        return _IterFactory(
            load_examples(directories, args.max_bad_share)
            if index is None
            else open_index(index, directories, args.max_bad_share),
            Prompts.load(_given(args.prompts, "prompts")),
            ChatFormat(load_tokenizer(config.llm_conf)),
            LoaderConfig(
                _batch_config(args, train, accum),
                args.seed,
                world,
                rank,
                accum,
                args.num_workers,
                args.ngpu > 0,
                args.shuffle_window,
            ),
            # an index has its own
            load_token_counts(args.train_shape_file if train else args.valid_shape_file)
            if index is None
            else None,
            _listed(args.train_feats_dir if train else args.valid_feats_dir),
            conf_digest(config.encoder, config.encoder_conf),
            where=mode,
        )

    @classmethod
    def build_iter_options(
        cls, args: argparse.Namespace, distributed_option: DistributedOption, mode: str
    ) -> Any:
        # ESPnet's own would ask for a collate function and shape files that this task has no use for.
        return argparse.Namespace(distributed=distributed_option.distributed)


class _IterFactory(StageData, AbsIterFactory):
    """`StageData` under the type that ESPnet checks for; the trainer asks it by phase."""

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> Any:
        raise TypeError("data are given out by phase: see StageData.phase")


def _world() -> int:
    """Processes of this training."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def _ever_trained(args: argparse.Namespace, model: Any) -> set[str]:
    """The parameters that any phase of the stage trains."""
    schedule = Schedule.from_list(args.phases, args.config or "phases")
    names = [name for name, _ in model.named_parameters()]
    ever = {name for t in schedule.resolve(names, model.protected) for name in t.names}
    check_quantized(_model_config(args).llm_conf, ever)
    return ever


def _model_config(args: argparse.Namespace) -> ModelConfig:
    return ModelConfig.from_mapping(vars(args), args.model_config or "model options")


def _batch_config(args: argparse.Namespace, train: bool, accum: int) -> BatchConfig:
    size, bins = args.batch_size, args.batch_bins
    if not train:
        size = args.valid_batch_size or size
        bins = args.valid_batch_bins or bins
    common = {
        "encoder_cost": args.encoder_cost,
        "max_llm_length": args.max_llm_length,
        "bins_per_gpu": args.max_bins_per_gpu,
        "size_per_gpu": args.max_batch_size_per_gpu,
    }
    if args.batch_type == "unsorted":
        return BatchConfig(size=size * accum, **common)
    if args.batch_type != "numel":
        raise ConfigError(
            f"batch_type: {args.batch_type!r} is neither numel (by --batch_bins) nor unsorted "
            "(by --batch_size)"
        )
    return BatchConfig(bins=bins * accum, **common)


def _listed(value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _given(value: str | None, key: str) -> str:
    if value is None:
        raise ConfigError(f"{key}: is missing (in the model file)")
    return value
