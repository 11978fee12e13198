"""Turns, batches and places in the queue."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from espnet_part.decode.direction import Direction
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.serve.errors import ApiError, Gone
from espnet_part.serve.metrics import Metrics
from espnet_part.serve.model import Decoded
from espnet_part.serve.scheduler import Scheduler
from espnet_part.serve.settings import Settings
from tests.serve.conftest import until
from tests.serve.fake import Fake

GERMAN = Direction("asr", "de", "de")


def seconds(value: float) -> np.ndarray:
    return np.zeros(round(value * SAMPLE_RATE), np.float32)


@pytest.fixture
def fake() -> Fake:
    """Its first batch waits until the gate is opened."""
    model = Fake()
    model.gate.clear()
    return model


@pytest.fixture
def scheduler(fake: Fake) -> Iterator[Scheduler]:
    scheduler = Scheduler(Settings(batch_size=3, queue_size=12), Metrics())
    scheduler.start(lambda: fake, lambda error: None)
    until(lambda: scheduler.state() == "ok")
    with scheduler.admit() as first:
        first.submit(GERMAN, seconds(9.0))  # while it is decoded, others queue up
        until(fake.begun.is_set)
        yield scheduler
        fake.gate.set()
    assert scheduler.end(60)


def lengths(fake: Fake) -> list[list[float]]:
    """Of the batches after the first."""
    return [[length for _, length in batch] for batch in fake.batches[1:]]


def test_clients_take_turns(scheduler: Scheduler, fake: Fake) -> None:
    """A long file delays nobody by more than a batch, though windows are alike."""
    with scheduler.admit() as long, scheduler.admit() as short:
        futures = [long.submit(GERMAN, seconds(4.0)) for _ in range(4)]
        futures.append(short.submit(GERMAN, seconds(4.5)))
        fake.gate.set()
        assert [future.result(60).text for future in futures] == ["4.0"] * 4 + ["4.5"]
    first, second = lengths(fake)
    assert first == [4.0] * 3 and sorted(second) == [4.0, 4.5]


def test_a_batch_holds_the_next_in_turn_and_what_is_like_it(
    scheduler: Scheduler, fake: Fake
) -> None:
    with scheduler.admit() as one, scheduler.admit() as two:
        futures = [one.submit(GERMAN, seconds(value)) for value in (5.0, 1.0, 5.2)]
        futures += [two.submit(GERMAN, seconds(value)) for value in (1.1, 4.9, 0.9)]
        fake.gate.set()
        for future in futures:
            future.result(60)
    first, second = lengths(fake)
    assert sorted(first) == [4.9, 5.0, 5.2] and sorted(second) == [0.9, 1.0, 1.1]


def test_who_is_passed_over_is_in_the_next_batch(scheduler: Scheduler, fake: Fake) -> None:
    with scheduler.admit() as one, scheduler.admit() as two, scheduler.admit() as three:
        futures = [one.submit(GERMAN, seconds(5.0)) for _ in range(3)]
        futures += [two.submit(GERMAN, seconds(1.0)), three.submit(GERMAN, seconds(9.0))]
        fake.gate.set()
        for future in futures:
            future.result(60)
    assert lengths(fake)[0] == [5.0, 5.0, 5.0] and sorted(lengths(fake)[1]) == [1.0, 9.0]


def test_who_is_dropped_is_not_decoded(scheduler: Scheduler, fake: Fake) -> None:
    with scheduler.admit() as one, scheduler.admit() as two:
        dropped = one.submit(GERMAN, seconds(1.0))
        cancelled = two.submit(GERMAN, seconds(2.0))
        kept = two.submit(GERMAN, seconds(3.0))
        one.drop()
        cancelled.cancel()
        fake.gate.set()
        assert kept.result(60).text == "3.0"
        with pytest.raises(Gone):
            dropped.result(60)
        with pytest.raises(Gone):
            one.submit(GERMAN, seconds(1.0))
    assert lengths(fake) == [[3.0]]


def test_a_client_waits_for_room(scheduler: Scheduler, fake: Fake) -> None:
    """At most two batches of one client wait, and fewer where many are at work."""
    with scheduler.admit() as one:
        found = [one.try_submit(GERMAN, seconds(1.0)) for _ in range(9)]
        assert [future is not None for future in found] == [True] * 6 + [False] * 3
        others = [scheduler.admit() for _ in range(10)]
        assert [other.try_submit(GERMAN, seconds(1.0)) is None for other in others] == [False] * 10
        assert others[0].try_submit(GERMAN, seconds(1.0)) is None
        with pytest.raises(ApiError) as refused:
            scheduler.admit()
        assert refused.value.status == 429 and refused.value.retry_after
        for other in others:
            other.close()
        assert scheduler.waiting() == 6
        fake.gate.set()
        one.finish()
        assert all(future is None or future.done() for future in found)


def test_a_bad_window_fails_alone(scheduler: Scheduler, fake: Fake) -> None:
    fake.fails = lambda value: value == 2.0
    with scheduler.admit() as one:
        good, bad = one.submit(GERMAN, seconds(1.9)), one.submit(GERMAN, seconds(2.0))
        fake.gate.set()
        assert good.result(60).text == "1.9"
        assert "does not like it" in str(bad.exception(60))


def test_a_short_window_does_not_wait_for_a_long_one() -> None:
    """The model has two at once, and is asked to go on with the first while it takes the second."""

    class OneByOne(Fake):
        """Answers the shortest of what it has whenever nothing waits."""

        def decode_stream(self, windows):
            have: dict[int, float] = {}
            coming, number = iter(windows), 0
            for window in coming:
                if window is not None:
                    have[number] = len(window[1]) / SAMPLE_RATE
                    number += 1
                    continue
                assert have  # else there would be nothing to go on with
                if not self.gate.wait(0.01):
                    continue
                shortest = min(have, key=lambda n: have[n])
                value = have.pop(shortest)
                yield shortest, Decoded(f"{value:.1f}", [], 0.0, 0.0), ""

    model, done = OneByOne(), []
    model.gate.clear()
    scheduler = Scheduler(Settings(batch_size=3, queue_size=12), Metrics())
    scheduler.start(lambda: model, lambda error: None)
    until(lambda: scheduler.state() == "ok")
    with scheduler.admit() as one, scheduler.admit() as two:
        futures = [one.submit(GERMAN, seconds(9.0)), two.submit(GERMAN, seconds(1.0))]
        for future in futures:
            future.add_done_callback(lambda future: done.append(future.result().text))
        until(lambda: not scheduler.waiting())
        model.gate.set()
        for future in futures:
            future.result(60)
    assert done == ["1.0", "9.0"] and scheduler.end(60)


def test_a_model_that_fails_as_a_whole_is_asked_again(scheduler: Scheduler, fake: Fake) -> None:
    def fails(value: float) -> bool:
        if value == 2.0:
            raise RuntimeError("out of order")
        return False

    fake.fails = fails
    with scheduler.admit() as one:
        bad = [one.submit(GERMAN, seconds(2.0)), one.submit(GERMAN, seconds(2.1))]
        fake.gate.set()
        assert all("out of order" in str(future.exception(60)) for future in bad)
        assert one.submit(GERMAN, seconds(3.0)).result(60).text == "3.0"
    assert scheduler.state() == "ok"


def test_what_a_failing_model_was_not_given_is_not_lost(scheduler: Scheduler, fake: Fake) -> None:
    def fails(value: float) -> bool:
        if value == 2.0:
            raise RuntimeError("out of order")
        return False

    fake.fails, fake.size = fails, 1  # it fails before it asks for the next
    with scheduler.admit() as one:
        bad, *good = (one.submit(GERMAN, seconds(value)) for value in (2.0, 2.1, 2.2))
        fake.gate.set()
        assert "out of order" in str(bad.exception(60))
        assert [future.result(20).text for future in good] == ["2.1", "2.2"]


def test_at_the_end_nobody_is_admitted(scheduler: Scheduler) -> None:
    scheduler.stop()
    with pytest.raises(ApiError) as refused:
        scheduler.admit()
    assert refused.value.status == 503
