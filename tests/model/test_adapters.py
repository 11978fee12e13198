"""Both adapters: lengths, masks, scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from espnet_part.model.adapters.linear.conf import LinearConf
from espnet_part.model.adapters.transformer_cnn.conf import TransformerCNNConf
from espnet_part.model.build import build_adapter

CONFS = [
    ("transformer_cnn", TransformerCNNConf(dim=16, heads=2, ff=32, downsample=1)),
    ("transformer_cnn", TransformerCNNConf(dim=16, heads=2, ff=32, downsample=2)),
    (
        "transformer_cnn",
        TransformerCNNConf(dim=16, heads=2, ff=32, downsample=4, kernel=5, layers=1),
    ),
    (
        "transformer_cnn",
        TransformerCNNConf(
            dim=16,
            heads=2,
            ff=32,
            input_norm=True,
            positions="convolutional",
            position_kernel=5,
            position_groups=4,
        ),
    ),
    ("linear", LinearConf(stack=1, hidden=16)),
    ("linear", LinearConf(stack=3, hidden=16)),
]


@pytest.mark.parametrize(("kind", "conf"), CONFS)
def test_peer_defect_01_output_does_not_depend_on_the_batch(kind: str, conf: Any) -> None:
    torch.manual_seed(0)
    adapter = build_adapter(kind, conf, 8, 12).eval()
    lengths = torch.tensor([1, 7, 12, 13])
    x = torch.randn(4, 15, 8)  # not zero behind the lengths: the adapter must not look
    out, out_lengths = adapter(x, lengths)
    rate = conf.stack if kind == "linear" else conf.downsample
    assert out_lengths.tolist() == [-(-n // rate) for n in lengths.tolist()]
    assert out_lengths.tolist() == adapter.output_lengths(lengths).tolist()
    assert out.shape == (4, int(out_lengths.max()), 12)
    for i, n in enumerate(lengths):
        alone, _ = adapter(x[i : i + 1, :n], n[None])
        torch.testing.assert_close(out[i, : out_lengths[i]], alone[0], atol=1e-5, rtol=0)
        assert not out[i, out_lengths[i] :].any()


@pytest.mark.parametrize(("kind", "conf"), [CONFS[1], CONFS[3], CONFS[5]])
def test_output_starts_at_the_scale_of_the_embeddings(kind: str, conf: Any) -> None:
    torch.manual_seed(0)
    adapter = build_adapter(kind, conf, 8, 64).eval()
    adapter.match_scale(0.02)
    out, _ = adapter(torch.randn(4, 60, 8), torch.full((4,), 60))
    assert 0.01 < float(out.detach().std()) < 0.04


def test_masks_of_time_hide_short_spans_in_training_alone() -> None:
    from espnet_part.model.adapters.transformer_cnn.module import _seen

    torch.manual_seed(0)
    lengths = torch.tensor([1, 3, 40, 500])
    hidden = torch.zeros(4, 500)
    for _ in range(300):
        seen = _seen(lengths, 500, 2, 15)
        hidden += ~seen
        for row, length in enumerate(lengths.tolist()):
            own = ~seen[row, :length]
            spans = 2 * (1 + length // 200)
            assert own.sum() <= spans * min(15, length // 4)
            assert (own[1:] & ~own[:-1]).sum() + own[:1].sum() <= spans
    assert not hidden[0].any() and not hidden[1].any()  # nothing of so short clips
    # all states of the long one are hidden about equally often, those at its ends less
    rates = hidden[3] / 300
    assert 0.02 < rates[20:480].mean() < 0.15 and rates[20:480].min() > 0

    conf = {"dim": 16, "heads": 2, "ff": 32, "layers": 1, "dropout": 0.0, "time_masks": 2}
    adapter = build_adapter("transformer_cnn", TransformerCNNConf(**conf), 8, 8).train()
    x, lengths = torch.randn(2, 60, 8), torch.tensor([60, 44])
    torch.manual_seed(1)
    first, second = adapter(x, lengths)[0], adapter(x, lengths)[0]
    assert not torch.equal(first, second)
    adapter.eval()
    assert torch.equal(adapter(x, lengths)[0], adapter(x, lengths)[0])


def test_positions_by_convolution_tell_where_a_state_stands() -> None:
    torch.manual_seed(0)
    conf = TransformerCNNConf(
        dim=16, heads=2, ff=32, kernel=1, downsample=1, positions="convolutional", position_groups=4
    )
    adapter = build_adapter("transformer_cnn", conf, 8, 8).eval()
    x = torch.randn(1, 1, 8).expand(1, 40, 8)  # the same state everywhere
    out, _ = adapter(x, torch.tensor([40]))
    assert not torch.allclose(out[0, 0], out[0, 1], atol=1e-4)  # near the clip's start
    torch.testing.assert_close(out[0, 19], out[0, 20], atol=1e-5, rtol=0)  # far from both ends


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"positions": "convolution"}, "did you mean `convolutional`"),
        ({"positions": "convolutional", "position_kernel": 30}, "must be odd"),
        ({"positions": "convolutional", "position_groups": 5}, "must divide"),
    ],
)
def test_wrong_positions_are_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TransformerCNNConf(dim=16, heads=2, ff=32, **wrong)
