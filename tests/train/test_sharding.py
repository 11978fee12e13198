"""Processes that share a model (FSDP2) do what processes do that each hold it (DDP)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from espnet_part.data.collate import collate
from espnet_part.schedule.activation import activate
from espnet_part.schedule.selectors import select
from espnet_part.train.checkpoint import trained_state
from espnet_part.train.learning_rate import forget_frozen, optimizer_state, parameter_groups
from espnet_part.train.nested import map_tensors
from espnet_part.train.outliers import Outliers
from espnet_part.train.parallel import Parallel
from espnet_part.train.precision import hold_in_float32, masters
from espnet_part.train.sharding import Sharded, rows_of, shard
from espnet_part.train.step import train_step, validate
from tests.model.tiny import LORA, QWEN2, WHISPER, make_batch, make_model
from tests.train.launch import CONTEXT

TASKS = ("asr",)
PHASES = {
    "adapter": ["adapter"],
    "top": ["adapter", "encoder.layers[-1:]"],
    "lora": ["llm.lora"],
    "joint": ["adapter", "encoder", "llm.lora", "llm.model.model.norm"],
}
STEPS = 2
#: How much weights may differ after all steps, each of which moves them by about 0.001.
CLOSE = 1e-5


def batch(clips: list[list[int]], seed: int) -> dict[str, Any]:
    """A batch as `collate` makes it."""
    return {
        **make_batch(clips, seed),
        "utt_ids": [f"u{n}" for n in range(len(clips))],
        "tasks": ["asr"] * len(clips),
        "bad": [],
        "audio_seconds": 1.0,
        "padding": dict.fromkeys(("llm", "llm_padded", "encoder", "encoder_padded"), 1),
    }


def micro_batches(rank: int, step: int) -> list[dict[str, Any]]:
    """Two: of speech and text on all processes, and of speech, text, or nothing at all by turns."""
    turn = (rank + step) % 3
    second = [[[9000]], [[]], None][turn]
    first = batch([[4000 + 900 * rank], []], seed=10 * step + rank)
    return [first, collate([], 1) if second is None else batch(second, 100 + step)]


class Side:
    """A model, its optimizer, and how the processes train it."""

    def __init__(self, parallel: Parallel, model: Any, names: list[str], foreach: bool) -> None:
        self.parallel, self.model = parallel, model
        ever = {n: p for n, p in model.named_parameters() if n in names}
        self.names = {p: n for n, p in ever.items()}
        groups = parameter_groups(ever, exclude_weight_decay=False)
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, foreach=foreach)
        self.module: nn.Module = model

    def start(self, names: list[str]) -> None:
        activate(self.model, names)
        forget_frozen(self.optimizer)
        self.module = self.parallel.wrap(self.model)

    def step(self, batches: list[dict[str, Any]], amp: bool, kind: float) -> list[float]:
        done = train_step(
            *(self.module, batches, self.optimizer, TASKS, self.parallel),
            amp=amp,
            grad_clip=0.1,
            grad_clip_type=kind,
            fault=Outliers(None).fault,
        )
        return [done.counts["loss"], done.grad_norm, float(done.updated)]

    def validate(self, batches: list[dict[str, Any]], amp: bool, stop: bool = False) -> list[float]:
        counts, _ = validate(
            *(self.model, batches, TASKS, self.parallel), amp=amp, is_over=lambda: stop
        )
        return [counts["loss"], counts["tokens"], counts["examples"]]

    def state(self) -> Any:
        saved = optimizer_state(self.optimizer, self.names)["state"]
        weights = trained_state(self.model, list(self.names.values()))
        state = map_tensors(self.parallel.whole, {"weights": weights, "optimizer": saved})
        return state if self.parallel.is_main else None


def largest_difference(one: Any, other: Any) -> float:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return max(largest_difference(one[key], other[key]) for key in one)
    assert type(one) is type(other) and one.shape == other.shape and one.dtype == other.dtype
    return float((one.double() - other.double()).abs().max())


def compare(rank: int, world: int, amp: bool) -> dict[str, Any]:
    """Train a model in both ways on the same batches, and note what each does."""
    dtype = "bfloat16" if amp else "float32"
    model = make_model(
        encoder_conf={"config": WHISPER, "gradient_checkpointing": amp},
        llm_conf={"config": QWEN2, "dtype": dtype, "gradient_checkpointing": amp},
        lora_conf={**LORA, "dropout": 0.0},
    )
    every = [name for name, _ in model.named_parameters()]
    phases = {
        name: [n for selector in chosen for n in select(selector, every)]
        for name, chosen in PHASES.items()
    }
    ever = sorted({name for names in phases.values() for name in names})
    in_float32 = masters(model, ever, amp)
    whole = copy.deepcopy(model)
    hold_in_float32(whole, in_float32)
    shard(model, "cpu", in_float32)
    activate(model, ever)
    sides = [
        Side(parallel, held, ever, foreach=amp)  # as on GPUs
        for parallel, held in ((Parallel(rank, world), whole), (Sharded(rank, world), model))
    ]
    found: dict[str, Any] = {}
    for number, (phase, names) in enumerate(phases.items()):
        for side in sides:
            side.start(names)
        for step in range(STEPS):
            batches = micro_batches(rank, 10 * number + step)
            kind = torch.inf if step else 2.0
            found[f"{phase} {step}"] = [side.step(batches, amp, kind) for side in sides]
        batches = [batch([[5000], []], seed=rank), collate([], 1)][: 1 + rank % 2]
        batches += [collate([], 1)] * (2 - len(batches))
        found[f"{phase} validation"] = [side.validate(batches, amp) for side in sides]
    poisoned = micro_batches(rank, 0)
    if rank == 0:
        poisoned[0]["speech"][0, 0] = torch.nan
    found["poisoned"] = [side.step(poisoned, amp, 2.0) for side in sides]
    one, other = (side.state() for side in sides)
    found["difference"] = largest_difference(one, other) if rank == 0 else other
    # one process is told to stop, and all stop
    stopped = sides[1].validate([batches[0]] * (3 + rank), amp, stop=rank == world - 1)
    found["stopped"] = stopped
    found["bytes"] = [
        sum(p.nbytes for p in whole.parameters()),
        sum(
            p.to_local().nbytes if isinstance(p, DTensor) else p.nbytes for p in model.parameters()
        ),
    ]
    found["dtypes"] = sorted({str(p.dtype) for p in model.parameters() if not p.requires_grad})
    found["rows"] = all(
        torch.equal(rows_of(p.full_tensor(), p).to_local(), p.to_local())
        for p in model.parameters()
    )
    return found


def work(rank: int, world: int, amp: bool, directory: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{directory}/rendezvous", rank=rank, world_size=world
    )
    found = compare(rank, world, amp)
    (directory / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[(2, True), (4, False)], ids=["2, bfloat16", "4, float32"])
def found(request: Any, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process has noted."""
    world, amp = request.param
    directory = tmp_path_factory.mktemp("sharding")
    processes = [
        CONTEXT.Process(target=work, args=(rank, world, amp, directory)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=600)
        if process.is_alive():
            process.kill()
    assert [process.exitcode for process in processes] == [0] * world
    return [json.loads((directory / f"{rank}.json").read_text()) for rank in range(world)]


@pytest.mark.parametrize("phase", PHASES)
def test_losses_and_norms_are_those_of_ddp(found: list[dict[str, Any]], phase: str) -> None:
    for own in found:
        for step in range(STEPS):
            ddp, fsdp2 = own[f"{phase} {step}"]
            assert fsdp2 == pytest.approx(ddp, rel=1e-4)
            assert ddp[1] > 0.1, "a norm that is clipped"
        ddp, fsdp2 = own[f"{phase} validation"]
        assert fsdp2 == pytest.approx(ddp, rel=1e-4)
        assert own[f"{phase} 0"] == found[0][f"{phase} 0"]


def test_weights_and_moments_are_those_of_ddp(found: list[dict[str, Any]]) -> None:
    assert found[0]["difference"] < CLOSE
    assert [own["difference"] for own in found[1:]] == [None] * (len(found) - 1)


def test_a_step_that_is_not_finite_is_skipped_by_all(found: list[dict[str, Any]]) -> None:
    assert all(updated == 0.0 for own in found for *_, updated in own["poisoned"])


def test_a_validation_ends_for_all_at_once(found: list[dict[str, Any]]) -> None:
    assert all(own["stopped"] == [0.0, 0.0, 0.0] for own in found)


def test_a_process_holds_its_share_in_the_dtypes_of_the_model(
    found: list[dict[str, Any]],
) -> None:
    for own in found:
        whole, held = own["bytes"]
        assert held < 1.1 * whole / len(found)
        assert own["rows"]
    assert sum(own["bytes"][1] for own in found) == found[0]["bytes"][0]
