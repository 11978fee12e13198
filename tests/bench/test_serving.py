"""The load of many clients on a server: what it counts, and that a wrong answer is found."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from espnet_part.serve.model import Decoded
from tests.serve.conftest import Running, start, talk  # noqa: F401
from tests.serve.fake import Fake
from tools.bench.serving import KINDS, Load, Server, growth, noise

RECORDINGS = [noise(seconds, seed) for seed, seconds in enumerate((2.0, 5.0, 9.0))]


def test_every_client_gets_the_answers_that_are_given_alone(
    start: Callable[..., Running],  # noqa: F811
) -> None:
    load = Load(Server(start(Fake()).port, "de"), RECORDINGS, len(KINDS))
    times = list(load.run(1.0))
    assert {answer.kind for answer in load.answers} == set(KINDS[:-1])
    assert all(answer.same for answer in load.answers) and not load.refused and load.hung_up
    found = load.summary(times[-1])
    assert found["answers"] == len(load.answers) and found["different"] == []
    assert all(list(shares) == sorted(shares) for shares in _latencies(found).values())


def test_answers_that_differ_and_errors_are_counted(
    start: Callable[..., Running],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, numbers = Fake(), itertools.count()
    server = Server(start(model, queue_size=2).port, "de")
    load = Load(server, RECORDINGS[:1], 6)
    whole = Decoded.__new__
    monkeypatch.setattr(
        Decoded, "__new__", lambda cls, text, *rest: whole(cls, f"{text} {next(numbers)}", *rest)
    )
    list(load.run(1.0))
    found = load.summary(1.0)
    assert found["answers that differ from the one given alone"] == len(load.answers) > 0
    kind, alone, together = found["different"][0]
    assert kind in KINDS and together.startswith(f"{alone} ")
    assert any(said.startswith("429 ") for said in found["errors"])


def test_growth_is_of_the_second_half() -> None:
    times = np.arange(0.0, 120.0)
    assert growth(times.tolist(), np.minimum(times, 60.0).tolist()) == pytest.approx(0.0, abs=0.05)
    assert growth(times.tolist(), (500 + times / 60).tolist()) == pytest.approx(1.0)


def _latencies(found: dict[str, dict[str, list[float]]]) -> dict[str, list[float]]:
    return found["latency p50, p90, p99, most"]
