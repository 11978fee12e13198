"""The window-level Q-Former: lengths, masks, scale, gradients, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from espnet_part.model.adapters.qformer.conf import QFormerConf
from espnet_part.model.build import build_adapter


def small(**changes: Any) -> QFormerConf:
    return QFormerConf(**{"window": 4, "queries": 2, "dim": 16, "heads": 2, "ff": 32, **changes})


@pytest.mark.parametrize(("window", "queries"), [(1, 1), (4, 2), (17, 1)])
def test_output_does_not_depend_on_the_batch(window: int, queries: int) -> None:
    torch.manual_seed(0)
    adapter = build_adapter("qformer", small(window=window, queries=queries), 8, 12).eval()
    lengths = torch.tensor([1, 7, 12, 13])
    x = torch.randn(4, 21, 8)  # not zero behind the lengths: the adapter must not look
    out, out_lengths = adapter(x, lengths)
    assert out_lengths.tolist() == [-(-n // window) * queries for n in lengths.tolist()]
    assert out_lengths.tolist() == adapter.output_lengths(lengths).tolist()
    assert out.shape == (4, int(out_lengths.max()), 12)
    for i, n in enumerate(lengths):
        alone, _ = adapter(x[i : i + 1, :n], n[None])
        torch.testing.assert_close(out[i, : out_lengths[i]], alone[0], atol=1e-5, rtol=0)
        assert not out[i, out_lengths[i] :].any()


def test_a_window_sees_its_own_frames_alone() -> None:
    torch.manual_seed(0)
    adapter = build_adapter("qformer", small(), 8, 12).eval()
    x, lengths = torch.randn(1, 8, 8), torch.tensor([8])
    before, _ = adapter(x, lengths)
    x[0, 6] += torch.randn(8)
    after, _ = adapter(x, lengths)
    torch.testing.assert_close(before[0, :2], after[0, :2])
    assert (before[0, 2:] - after[0, 2:]).abs().max() > 1e-5


def test_output_starts_at_the_scale_of_the_embeddings_and_all_of_it_trains() -> None:
    torch.manual_seed(0)
    adapter = build_adapter("qformer", small(dim=64), 8, 64).train()
    adapter.match_scale(0.02)
    out, _ = adapter(torch.randn(4, 60, 8), torch.tensor([60, 59, 3, 1]))
    assert 0.01 < float(out[0].detach().std()) < 0.04
    out.square().sum().backward()
    assert [n for n, p in adapter.named_parameters() if p.grad is None] == []


def test_faulty_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="heads"):
        small(heads=3)
    with pytest.raises(ValueError, match="window"):
        small(window=0)
