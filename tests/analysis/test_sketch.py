"""Inner products survive a sketch without bias, and as closely as it says."""

from __future__ import annotations

import pytest
import torch

from espnet_part.analysis import sketch
from espnet_part.analysis.sketch import Sketch


def test_cosines_are_kept_within_the_stated_deviation() -> None:
    random = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 50_000, generator=random)
    y = 0.6 * x + 0.8 * noise
    size, exact = 1000, torch.cosine_similarity(x, y, dim=0)
    errors = []
    for seed in range(60):
        shrink = Sketch(size, seed)
        errors.append(torch.cosine_similarity(shrink(x), shrink(y), dim=0) - exact)
    found = torch.stack(errors)
    assert found.mean().abs() < 3 * (2 / size) ** 0.5 / 60**0.5
    assert found.std() < 1.2 * (2 / size) ** 0.5


def test_pieces_keep_inner_products_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in different pieces must not share its places and signs."""
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(1))
    y = torch.cat([x[10_000:], x[:10_000]])  # nothing in common with x, piece by piece all of it
    whole = Sketch(2000, 3)(x)
    assert torch.equal(whole, Sketch(2000, 3)(x)) and not torch.equal(whole, Sketch(2000, 4)(x))
    monkeypatch.setattr(sketch, "_CHUNK", 1000)
    shrink = Sketch(2000, 3)
    assert torch.cosine_similarity(shrink(x), shrink(x), dim=0) == pytest.approx(1.0)
    assert abs(float(torch.cosine_similarity(shrink(x), shrink(y), dim=0))) < 0.1
    assert float(shrink(x).square().sum() / x.square().sum()) == pytest.approx(1.0, abs=0.2)
