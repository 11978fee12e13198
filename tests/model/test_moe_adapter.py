"""The mixture of adapters: its sum, lengths, masks, scale, gradients, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from espnet_part.model.adapters.moe.conf import MoEConf
from espnet_part.model.build import build_adapter


def small(**changes: Any) -> MoEConf:
    return MoEConf(**{"stack": 2, "experts": 3, "hidden": 16, **changes})


@pytest.mark.parametrize(("stack", "experts"), [(1, 1), (3, 4)])
def test_output_does_not_depend_on_the_batch(stack: int, experts: int) -> None:
    torch.manual_seed(0)
    adapter = build_adapter("moe", small(stack=stack, experts=experts), 8, 12).eval()
    lengths = torch.tensor([1, 7, 12, 13])
    x = torch.randn(4, 15, 8)  # not zero behind the lengths: the adapter must not look
    out, out_lengths = adapter(x, lengths)
    assert out_lengths.tolist() == [-(-n // stack) for n in lengths.tolist()]
    assert out_lengths.tolist() == adapter.output_lengths(lengths).tolist()
    assert out.shape == (4, int(out_lengths.max()), 12)
    for i, n in enumerate(lengths):
        alone, _ = adapter(x[i : i + 1, :n], n[None])
        torch.testing.assert_close(out[i, : out_lengths[i]], alone[0], atol=1e-5, rtol=0)
        assert not out[i, out_lengths[i] :].any()


@torch.no_grad()
def test_a_frame_is_the_weighted_sum_of_what_the_experts_make_of_it() -> None:
    torch.manual_seed(0)
    adapter = build_adapter("moe", small(embedding_norm=False), 8, 12).eval()
    torch.nn.init.normal_(adapter.router.weight)
    x = torch.randn(1, 2, 8)
    out, _ = adapter(x, torch.tensor([2]))
    frame = x.flatten()
    scores = (adapter.router.weight @ frame + adapter.router.bias).exp()
    assert scores.max() / scores.min() > 2
    expected = torch.zeros(12)
    for score, expert in zip(scores, adapter.experts, strict=True):
        hidden = torch.nn.functional.gelu(expert[0].weight @ frame + expert[0].bias)
        expected += score / scores.sum() * (expert[3].weight @ hidden + expert[3].bias)
    torch.testing.assert_close(out[0, 0], expected)


def test_with_one_expert_it_is_the_adapter_linear() -> None:
    linear = build_adapter("linear", _linear(), 8, 12).eval()
    one = build_adapter("moe", small(experts=1), 8, 12).eval()
    names = {"experts.0.0": "linear1", "experts.0.3": "linear2", "norm": "norm"}
    for mine, theirs in names.items():
        one.get_submodule(mine).load_state_dict(linear.get_submodule(theirs).state_dict())
    x, lengths = torch.randn(2, 9, 8), torch.tensor([9, 4])
    torch.testing.assert_close(one(x, lengths), linear(x, lengths))


def _linear() -> Any:
    from espnet_part.model.adapters.linear.conf import LinearConf

    return LinearConf(stack=2, hidden=16)


def test_output_starts_at_the_scale_of_the_embeddings_and_all_of_it_trains() -> None:
    torch.manual_seed(0)
    adapter = build_adapter("moe", small(), 8, 64).train()
    adapter.match_scale(0.02)
    out, _ = adapter(torch.randn(4, 60, 8), torch.tensor([60, 59, 3, 1]))
    assert 0.01 < float(out[0].detach().std()) < 0.04
    (out[..., 0] ** 3).sum().backward()
    lacking = [n for n, p in adapter.named_parameters() if p.grad is None or not p.grad.any()]
    assert lacking == []


def test_faulty_sizes_are_named() -> None:
    for key in ("stack", "experts", "hidden"):
        with pytest.raises(ValueError, match=f"`{key}` must be positive"):
            small(**{key: 0})
