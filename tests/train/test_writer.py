"""What is written is what was copied, whole before anything else goes on."""

from __future__ import annotations

import logging
import threading
from typing import NamedTuple

import pytest
import torch

from espnet_part.train.writer import Writer


class State(NamedTuple):
    weights: dict[str, torch.Tensor]
    history: list[dict[str, float]]


def test_a_copy_shares_nothing_with_what_goes_on() -> None:
    matrix = torch.arange(6.0).view(2, 3)
    state = State({"w": matrix, "turned": matrix.T}, [{"loss": 1.0}])
    writer = Writer()
    copied = writer.copy(state)
    expected = State({"w": matrix.clone(), "turned": matrix.T.clone()}, [{"loss": 1.0}])
    matrix.zero_()
    state.history[0]["loss"] = 2.0
    state.history.append({})
    state.weights["new"] = matrix
    assert copied.weights.keys() == expected.weights.keys() and copied.history == expected.history
    for name, tensor in expected.weights.items():
        assert torch.equal(copied.weights[name], tensor)
        assert copied.weights[name].is_contiguous()  # as safetensors wants them
    assert isinstance(copied, State)


def test_memory_is_used_again() -> None:
    writer = Writer()
    first = writer.copy({"a": torch.zeros(3), "b": torch.zeros(3), "c": torch.zeros(2)})
    before = {tensor.data_ptr() for tensor in first.values()}
    second = writer.copy({"b": torch.ones(3), "c": torch.ones(2), "d": torch.full((3,), 2.0)})
    assert {tensor.data_ptr() for tensor in second.values()} == before
    assert [tensor.tolist() for tensor in second.values()] == [[1] * 3, [1] * 2, [2] * 3]
    third = writer.copy({"b": torch.ones(3, dtype=torch.int32)})  # others are let go
    assert third["b"].data_ptr() not in before
    assert third["b"].tolist() == [1, 1, 1]


def test_the_next_copy_waits_for_what_is_being_written(caplog: pytest.LogCaptureFixture) -> None:
    written: list[float] = []
    slow = threading.Event()
    with Writer() as writer:
        copied = writer.copy({"w": torch.ones(2)})

        def write() -> None:
            slow.wait()
            written.append(float(copied["w"].sum()))

        writer.start(write)
        assert not writer.has_failed  # it is under way, and that is all right
        assert written == []
        threading.Timer(0.3, slow.set).start()
        with caplog.at_level(logging.WARNING):
            writer.get_ready()
        assert written == [2.0]
    assert "has waited 0." in caplog.text and "--save_interval" in caplog.text


def fail() -> None:
    raise PermissionError(13, "Permission denied", "checkpoints")


def test_the_end_waits_and_says_what_failed() -> None:
    slow, written = threading.Event(), []
    with Writer() as writer:
        writer.start(lambda: written.append(slow.wait()))
        threading.Timer(0.2, slow.set).start()
    assert written == [True]
    with pytest.raises(PermissionError, match="checkpoints"), Writer() as writer:
        writer.start(fail)


def test_a_failure_is_known_at_the_next_border_and_said_once() -> None:
    with Writer() as writer:
        for after in (writer.wait, writer.get_ready):
            writer.start(fail)
            while not writer.has_failed:
                pass
            with pytest.raises(PermissionError):
                after()
            assert not writer.has_failed
            writer.wait()


def test_a_failure_does_not_hide_what_ended_the_training(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="the reason"), Writer() as writer:
        writer.start(fail)
        raise ValueError("the reason")
    assert "what was being written is lost" in caplog.text
    assert "Permission denied" in caplog.text
