"""Inner products survive a sketch without bias, and as closely as it says."""

from __future__ import annotations

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


def test_pieces_do_not_matter(monkeypatch: object) -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    whole = Sketch(64, 3)(x)
    assert torch.equal(whole, Sketch(64, 3)(x))
    assert not torch.equal(whole, Sketch(64, 4)(x))
    assert whole.double().sum() != 0
    assert sketch.Sketch(64, 3)(torch.zeros(1000)).abs().sum() == 0
