"""How long a checkpoint stops a training: written at once, and written beside it.

Trains matrices of so many parameters with AdamW, whose two moments are part of a checkpoint. See
checkpoint.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from espnet_part.train.checkpoint import Checkpoint, trained_state, write_checkpoint
from espnet_part.train.learning_rate import optimizer_state
from espnet_part.train.writer import Writer

WIDTH = 1000  # of a matrix, which has a million parameters


class Training:
    """Matrices of ``millions`` parameters in a row, and their optimizer."""

    def __init__(self, millions: int, device: torch.device) -> None:
        layers = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(millions)]
        self.model = nn.Sequential(*layers).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5)
        self.names: dict[torch.Tensor, str] = {p: n for n, p in self.model.named_parameters()}
        self.batch = torch.randn(8, WIDTH, device=device)

    def step(self) -> None:
        self.model(self.batch).square().sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> Checkpoint:
        weights = trained_state(self.model, self.names.values())
        return Checkpoint(weights, optimizer_state(self.optimizer, self.names), {})


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds, and CPU-seconds of this thread, which other processes on the machine change little."""
    began, cpu = time.perf_counter(), time.thread_time()
    work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - began, time.thread_time() - cpu


def median(times: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(t for t, _ in times), statistics.median(cpu for _, cpu in times)


def measure(millions: int, steps: int, device: torch.device, directory: Path) -> dict[str, Any]:
    training = Training(millions, device)
    training.step()
    alone = median([timed(training.step) for _ in range(steps)])

    def write_at_once() -> None:
        state = training.state()
        weights = {name: tensor.cpu() for name, tensor in state.weights.items()}
        write_checkpoint(directory / "at_once", state._replace(weights=weights))

    at_once = timed(write_at_once)
    size = sum(path.stat().st_size for path in (directory / "at_once").iterdir())
    stalls: list[tuple[float, float]] = []
    written: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    with Writer() as writer:
        for _ in range(2):
            copies: list[Checkpoint] = []

            def copy(copies: list[Checkpoint] = copies) -> None:
                writer.get_ready()
                copies.append(writer.copy(training.state()))

            def write(copies: list[Checkpoint] = copies) -> None:
                written.append(timed(lambda: write_checkpoint(directory / "beside", copies[0])))

            stalls.append(timed(copy))
            writer.start(write)
            while len(written) < len(stalls):
                beside.append(timed(training.step))
                if writer.has_failed:
                    writer.wait()
    return {
        "millions": millions,
        "gigabytes": size / 1e9,
        "at_once": at_once,
        "first_stall": stalls[0],
        "stall": stalls[1],
        "written": median(written),
        "step": alone,
        "step_beside": median(beside),
        "steps_beside": len(beside),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--millions", type=int, nargs="+", default=[100, 300], help="of parameters")
    parser.add_argument("--steps", type=int, default=10, help="that are timed without a checkpoint")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dir", type=Path, help="where checkpoints go (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="where the figures go")
    args = parser.parse_args()
    rows = []
    for millions in args.millions:
        with tempfile.TemporaryDirectory(dir=args.dir) as directory:
            rows.append(measure(millions, args.steps, torch.device(args.device), Path(directory)))
        times = ("at_once", "first_stall", "stall", "written", "step", "step_beside")
        cells = [f"{rows[-1][name][0]:.2f} ({rows[-1][name][1]:.2f})" for name in times]
        print(f"| {millions} M | {rows[-1]['gigabytes']:.1f} |", " | ".join(cells), "|", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
