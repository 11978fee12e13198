"""Which steps are out of the ordinary."""

from __future__ import annotations

import math

import numpy as np
import pytest

from espnet_part.train.outliers import ENOUGH, WINDOW, Outliers


def ordinary(count: int) -> list[tuple[float, float]]:
    """Losses about 2 and norms about 1."""
    generator = np.random.default_rng(0)
    return [(float(x), float(y)) for x, y in generator.normal((2, 1), (0.1, 0.2), (count, 2))]


@pytest.mark.parametrize("deviations", [None, 6.0])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_a_fault(deviations: float | None, value: float) -> None:
    outliers = Outliers(deviations)
    assert outliers.fault(value, 1.0) == "the loss is not finite"
    assert outliers.fault(1.0, value) == "the gradient's norm is not finite"
    assert outliers.fault(1.0, 1.0) is None


def test_a_spike_is_named_with_what_was_ordinary() -> None:
    outliers = Outliers(6)
    for pair in ordinary(200):
        assert outliers.fault(*pair) is None
    values = np.array(ordinary(200)[-WINDOW:])
    mean, deviation = values.mean(0), values.std(0)
    below, above = mean + 5.99 * deviation, mean + 6.01 * deviation
    words = outliers.fault(above[0], 1.0)
    assert (
        words == f"the loss, {above[0]:.4g}, is a spike: it was {mean[0]:.4g} ± {deviation[0]:.2g}"
    )
    assert "gradient's norm" in str(outliers.fault(2.0, above[1]))
    assert outliers.fault(below[0], below[1]) is None
    assert outliers.fault(0.0, 0.0) is None  # too good is no fault


def test_too_few_steps_and_another_phase_say_nothing() -> None:
    outliers = Outliers(6)
    for pair in ordinary(ENOUGH - 1):
        outliers.fault(*pair)
    assert outliers.fault(2.0, 1.0) is None
    assert outliers.fault(1e9, 1.0)
    outliers.forget()
    assert outliers.fault(1e9, 1.0) is None


def test_a_spike_does_not_become_ordinary() -> None:
    outliers = Outliers(6)
    for pair in ordinary(WINDOW):
        outliers.fault(*pair)
    assert all(outliers.fault(100.0, 1.0) for _ in range(2 * WINDOW))


def test_it_goes_on_from_its_state() -> None:
    one, other = Outliers(6), Outliers(6)
    for pair in ordinary(150):
        one.fault(*pair)
    other.load_state_dict(one.state_dict())
    assert other.state_dict() == one.state_dict()
    assert other.fault(3.0, 1.0) == one.fault(3.0, 1.0) is not None
