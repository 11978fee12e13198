"""One step: the formula, bad numbers, reduced precision."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from torch import nn

from espnet_part.model.speech_llm import SpeechLLMOutput
from espnet_part.model.splice import IGNORE
from espnet_part.train.outliers import Outliers
from espnet_part.train.parallel import Parallel
from espnet_part.train.step import Counts, seed_step, train_step

TASKS = ("asr", "s2tt")


class Toy(nn.Module):
    """Predicts each row's label from its features; the loss is a sum, as the SpeechLLM's."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, x: torch.Tensor, labels: torch.Tensor, **_: Any) -> SpeechLLMOutput:
        logits = self.linear(x).float()
        losses = nn.functional.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORE)
        kept = labels != IGNORE
        correct = (logits.argmax(-1) == labels) & kept
        return SpeechLLMOutput(losses.sum(), losses.detach(), kept.long(), correct.long())


def batch(rows: int, seed: int, tasks: list[str]) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "x": torch.randn(rows, 3, generator=generator),
        "labels": torch.randint(0, 5, (rows,), generator=generator),
        "utt_ids": [f"u{i}" for i in range(rows)],
        "tasks": tasks,
        "bad": [],
        "audio_seconds": 1.0,
        "padding": {"llm": 3, "llm_padded": 4, "encoder": 0, "encoder_padded": 0},
    }


def step(model: nn.Module, batches: list[dict[str, Any]], **options: Any) -> Any:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    defaults = {
        "amp": False,
        "grad_clip": 1e9,
        "grad_clip_type": 2.0,
        "fault": Outliers(None).fault,
    }
    return train_step(model, batches, optimizer, TASKS, Parallel(), **{**defaults, **options})


def test_the_update_is_that_of_the_mean_over_all_tokens() -> None:
    """Against plain float64 autograd on the joined batch."""
    torch.manual_seed(0)
    model = Toy()
    reference = Toy().double()
    reference.load_state_dict(model.state_dict())
    batches = [batch(2, 1, ["asr"] * 2), batch(5, 2, ["s2tt"] * 5), batch(1, 3, ["asr"])]
    result = step(model, batches)
    x = torch.cat([b["x"] for b in batches]).double()
    labels = torch.cat([b["labels"] for b in batches])
    loss = nn.functional.cross_entropy(reference.linear(x), labels)
    loss.backward()
    for own, other in zip(model.parameters(), reference.parameters(), strict=True):
        assert other.grad is not None
        torch.testing.assert_close(own.double(), other - 0.1 * other.grad, rtol=1e-5, atol=1e-6)
    assert result.counts.means()["loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert result.counts["tokens_asr"] == 3
    assert result.counts["tokens_s2tt"] == 5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_that_is_not_finite_leaves_the_weights_alone(value: float) -> None:
    model = Toy()
    before = [p.clone() for p in model.parameters()]
    poisoned = batch(2, 1, ["asr"] * 2)
    poisoned["x"][0, 0] = value
    result = step(model, [batch(2, 2, ["asr"] * 2), poisoned])
    assert not result.updated
    assert result.fault == "the loss is not finite"
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert step(model, [batch(2, 2, ["asr"] * 2)]).updated


def test_a_step_of_bad_utterances_alone_moves_nothing() -> None:
    """An optimizer with moments would go on by itself."""
    model = Toy()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    train = functools.partial(
        train_step,
        optimizer=optimizer,
        tasks=TASKS,
        parallel=Parallel(),
        amp=False,
        fault=Outliers(None).fault,
    )
    train(model, [batch(4, 1, ["asr"] * 4)], grad_clip=1.0, grad_clip_type=2.0)
    before = [p.clone() for p in model.parameters()]
    empty = batch(1, 1, [])
    empty["labels"][:] = IGNORE
    empty["utt_ids"], empty["bad"] = [], [("u", "junk")]
    result = train(model, [empty], grad_clip=1.0, grad_clip_type=2.0)
    assert not result.updated
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert result.fault is None
    assert result.counts["tokens"] == 0
    assert result.counts["bad"] == 1


def test_bfloat16_needs_no_scaler() -> None:
    model = Toy()
    result = step(model, [batch(4, 1, ["asr"] * 4)], amp=True)
    assert result.updated
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_gradients_are_clipped() -> None:
    model = Toy()
    before = [p.clone() for p in model.parameters()]
    result = step(model, [batch(4, 1, ["asr"] * 4)], grad_clip=1e-3)
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, model.parameters(), strict=True)])
    assert result.grad_norm > 1e-3
    assert float(moved.norm()) == pytest.approx(0.1 * 1e-3, rel=1e-3)


def test_the_random_state_depends_on_seed_step_and_rank() -> None:
    def draw(seed: int, number: int, rank: int) -> float:
        seed_step(seed, number, Parallel(rank, 4))
        return float(torch.rand(()))

    assert draw(1, 5, 0) == draw(1, 5, 0)
    assert len({draw(1, 5, 0), draw(1, 5, 1), draw(1, 6, 0), draw(2, 5, 0)}) == 4


def test_absent_tasks_are_not_zero() -> None:
    counts = Counts.zero(TASKS)
    assert all(math.isnan(value) for value in counts.means().values())
