"""What a run shows of itself: ESPnet's log, images and tensorboard, a progress line, a history."""

from __future__ import annotations

import datetime
import json
import logging
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any

import humanfriendly
import torch
from espnet2.train.reporter import (
    Average,
    Reporter,
    SubReporter,
    WeightedAverage,
)

from espnet_part.files import atomic_write
from espnet_part.train.options import TrainerOptions
from espnet_part.train.position import Position
from espnet_part.train.step import Counts, StepResult

SECONDS_BETWEEN_IMAGES = 60.0


class Report:
    """Gathers the numbers of a run on the main process; on the others only the history.

    The history has one entry a validation interval: its number ``epoch``, the ``phase``, the
    ``step`` within the stage, the ``train`` and ``valid`` means, the ``seconds`` since the start, and
    the ``memory`` in GB that a process has taken at most since it was started.
    """

    def __init__(self, options: TrainerOptions, is_main: bool) -> None:
        self.options = options
        self.is_main = is_main
        self.output_dir = Path(options.output_dir)
        self.history: list[dict[str, Any]] = []
        self.reporter = Reporter()
        self.train: SubReporter | None = None
        self.writers: dict[str, Any] = {}
        self.bar: Any = None
        self._window: list[tuple[float, Counts]] = []
        self._drawn = time.perf_counter()

    # --- a validation interval --------------------------------------------------------------

    def start_epoch(self, epoch: int) -> None:
        if self.train is None:
            self.reporter.set_epoch(epoch)
            self.train = self.reporter.start_epoch("train")

    def after_step(
        self, result: StepResult, groups: list[dict[str, Any]], iter_time: float, train_time: float
    ) -> None:
        """Register a step under ESPnet's keys."""
        assert self.train is not None
        weight = result.counts["tokens"]
        self.train.register({"iter_time": iter_time})
        means = result.counts.means()
        self.train.register({k: v for k, v in means.items() if not math.isnan(v)}, weight)
        self.train.register(
            {
                "forward_time": result.forward_time,
                "backward_time": result.backward_time,
                "optim_step_time": result.optim_step_time,
                "padding_share": result.counts.padding_share,
                "examples": result.counts["examples"],
                "tokens": result.counts["tokens"],
                "audio_seconds": result.counts["audio_seconds"],
                "train_time": train_time,
            }
        )
        if result.updated:
            clipped = 100.0 if result.grad_norm > self.options.grad_clip else 0.0
            self.train.register({"grad_norm": result.grad_norm, "clip": clipped})
        self.train.register({f"optim0_lr{i}": g["lr"] for i, g in enumerate(groups)})
        self.train.next()
        if self.is_main:
            self._window.append((train_time, result.counts))

    def finish_epoch(
        self,
        phase: str,
        position: Position,
        valid: dict[str, float],
        memory: dict[str, float],
        *,
        is_phase_end: bool,
    ) -> None:
        """Close the interval: log it as ESPnet does, draw, and add it to the history."""
        assert self.train is not None
        self.reporter.finish_epoch(self.train)
        self.train = None
        sub = self.reporter.start_epoch("valid")
        sub.register({key: value for key, value in valid.items() if not math.isnan(value)})
        sub.next()
        self.reporter.finish_epoch(sub)
        stats = self.reporter.stats[position.epoch]
        self.history.append(
            {
                "epoch": position.epoch,
                "phase": phase,
                "step": position.total_step,
                "train": _finite(stats["train"]),
                "valid": _finite(stats["valid"]),
                "seconds": round(position.seconds, 3),
                "memory": memory,
            }
        )
        if self.is_main:
            self._show_epoch(is_phase_end)

    def _show_epoch(self, is_phase_end: bool) -> None:
        logging.info(self.reporter.log_message())
        with atomic_write(self.output_dir / "history.jsonl") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in self.history)
        # twenty images take seconds, which short intervals do not have
        due = is_phase_end or time.perf_counter() - self._drawn > SECONDS_BETWEEN_IMAGES
        if self.options.use_matplotlib and due:
            self._drawn = time.perf_counter()
            self.reporter.matplotlib_plot(self.output_dir / "images")
        for split, writer in self._summary_writers().items():
            self.reporter.tensorboard_add_scalar(writer, key1=split)
            writer.flush()
        if self.options.use_wandb:
            self.reporter.wandb_log()

    def _summary_writers(self) -> dict[str, Any]:
        if self.options.use_tensorboard and not self.writers:
            from torch.utils.tensorboard import SummaryWriter

            for split in ("train", "valid"):
                self.writers[split] = SummaryWriter(str(self.output_dir / "tensorboard" / split))
        return self.writers

    def value(self, split: str, key: str) -> float:
        """A mean of the newest interval."""
        return self.history[-1][split].get(key, math.nan)

    # --- progress ----------------------------------------------------------------------------

    def progress(
        self, phase: str, position: Position, steps: int, groups: list[dict[str, Any]]
    ) -> None:
        """Log ESPnet's message and the progress line, of the steps since the last call."""
        if not self.is_main or not self._window:
            return
        assert self.train is not None
        logging.info(self.train.log_message(-min(len(self._window), self.train.count)))
        line = progress_line(phase, position, steps, groups, self._window)
        logging.info(line)
        self._window = []

    def start_phase(self, phase: str, position: Position, steps: int) -> None:
        """Open a bar when somebody watches a terminal."""
        self._window = []
        if self.is_main and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=steps, initial=position.step, desc=phase, unit="step")

    def tick(self, loss: float) -> None:
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            self.bar.update()

    def finish_phase(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()

    # --- checkpoints ---------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The report as JSON values, the unfinished interval included."""
        state: dict[str, Any] = {
            "history": self.history,
            "stats": [
                [epoch, {split: _plain(stats) for split, stats in splits.items()}]
                for epoch, splits in self.reporter.stats.items()
            ],
            "train": None,
        }
        if self.train is not None:
            state["train"] = {
                "epoch": self.train.epoch,
                "count": self.train.count,
                "total_count": self.train.total_count,
                "elapsed": time.perf_counter() - self.train.start_time,
                "stats": {
                    key: [(v.value, getattr(v, "weight", None)) for v in values]
                    for key, values in self.train.stats.items()
                },
            }
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history, self.train = state["history"], None
        self.reporter.stats = {
            epoch: {split: _rich(stats) for split, stats in splits.items()}
            for epoch, splits in state["stats"]
        }
        saved = state["train"]
        if saved is None:
            return
        self.reporter.set_epoch(saved["epoch"])
        self.train = self.reporter.start_epoch("train")
        self.train.count, self.train.total_count = saved["count"], saved["total_count"]
        self.train.start_time = time.perf_counter() - saved["elapsed"]
        for key, values in saved["stats"].items():
            self.train.stats[key] = [
                Average(value) if weight is None else WeightedAverage(value, weight)
                for value, weight in values
            ]


def peak_memory() -> dict[str, float]:
    """GB of the computer's memory, and of the GPU's where there is one, since the process started."""
    peaks = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    if torch.cuda.is_available():
        peaks["gpu"] = torch.cuda.max_memory_reserved() / 2**30
    return {key: round(gigabytes, 3) for key, gigabytes in peaks.items()}


def progress_line(
    phase: str,
    position: Position,
    steps: int,
    groups: list[dict[str, Any]],
    window: list[tuple[float, Counts]],
) -> str:
    """One line for a person: where the run is, how it learns, how fast it is, when it ends.

    Args:
        steps: Length of the phase.
        groups: The optimizer's groups.
        window: Seconds and counts of the latest steps.
    """
    seconds = sum(t for t, _ in window)
    counts = Counts(window[0][1].tasks, torch.stack([c.values for _, c in window]).sum(0))
    means = counts.means()
    by_task = " ".join(
        f"{task} {means['loss_' + task]:.3f}"
        for task in counts.tasks
        if not math.isnan(means["loss_" + task])
    )
    rates = dict.fromkeys(f"{group['name']} {group['lr']:.2e}" for group in groups if group["lr"])
    remaining = (steps - position.step) * seconds / len(window)
    parts = [
        f"{phase}: step {position.step}/{steps} ({100 * position.step / steps:.0f}%)",
        f"loss {means['loss']:.3f} ({by_task})",
        f"{counts['tokens'] / seconds:.0f} tokens/s",
        f"{counts['audio_seconds'] / seconds:.1f} audio-s/s",
        f"padding {100 * counts.padding_share:.0f}%",
        f"lr {', '.join(rates)}",
        f"ETA {humanfriendly.format_timespan(round(remaining))}",
    ]
    if position.skipped:
        parts.insert(2, f"skipped {position.skipped}")
    return " | ".join(parts)


def _finite(stats: dict[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in stats.items()
        if not isinstance(value, datetime.timedelta) and math.isfinite(value)
    }


def _plain(stats: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.total_seconds() if isinstance(value, datetime.timedelta) else float(value)
        for key, value in stats.items()
    }


def _rich(stats: dict[str, Any]) -> dict[str, Any]:
    rich: dict[str, Any] = dict(stats)
    rich["time"] = datetime.timedelta(seconds=stats["time"])
    rich["total_count"] = int(stats["total_count"])
    return rich
