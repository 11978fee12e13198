"""The splice against a plain loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from espnet_part.model.splice import splice


def reference(
    tokens: Tensor,
    token_lengths: list[int],
    labels: Tensor,
    speech: Tensor,
    speech_lengths: list[int],
    row: list[int],
    position: list[int],
) -> tuple[list[Tensor], list[list[int]]]:
    embeddings, new_labels = [], []
    for b, length in enumerate(token_lengths):
        pieces: list[Tensor] = []
        ids: list[int] = []
        for place in range(length + 1):
            for s in range(len(row)):
                if row[s] == b and position[s] == place:
                    pieces.extend(speech[s, : speech_lengths[s]])
                    ids.extend([-100] * speech_lengths[s])
            if place < length:
                pieces.append(tokens[b, place])
                ids.append(int(labels[b, place]))
        embeddings.append(torch.stack(pieces))
        new_labels.append(ids)
    return embeddings, new_labels


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int, int]]]:
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    clips = []
    for _ in range(draw(st.integers(0, 6))):
        row = draw(st.integers(0, len(lengths) - 1))
        clips.append((row, draw(st.integers(0, lengths[row])), draw(st.integers(0, 4))))
    return lengths, clips


@given(layouts())
@settings(max_examples=200, deadline=None)
def test_equals_a_plain_loop(layout: tuple[list[int], list[tuple[int, int, int]]]) -> None:
    lengths, clips = layout
    tokens = torch.randn(len(lengths), max(lengths) + 1, 3)
    labels = torch.randint(0, 50, tokens.shape[:2])
    labels[torch.arange(tokens.shape[1]) >= torch.tensor(lengths)[:, None]] = -100
    row, position, frames = ([c[i] for c in clips] for i in range(3))
    speech = torch.randn(len(clips), max([*frames, 1]), 3)
    expected, expected_labels = reference(tokens, lengths, labels, speech, frames, row, position)
    as_tensor = [torch.tensor(x, dtype=torch.long) for x in (frames, row, position)]
    out = splice(tokens, torch.tensor(lengths), labels, speech, *as_tensor)
    assert out.lengths.tolist() == [len(e) for e in expected]
    for b, wanted in enumerate(expected):
        n = len(wanted)
        assert torch.equal(out.embeddings[b, :n], wanted)
        assert not out.embeddings[b, n:].any()
        assert out.labels[b].tolist() == expected_labels[b] + [-100] * (out.labels.shape[1] - n)
        assert out.mask[b].tolist() == [True] * n + [False] * (out.mask.shape[1] - n)
        assert out.positions[b, :n].tolist() == list(range(n))


def test_no_clips() -> None:
    tokens, labels = torch.randn(2, 3, 4), torch.tensor([[1, 2, 3], [4, -100, -100]])
    out = splice(tokens, torch.tensor([3, 1]), labels)
    assert torch.equal(out.labels, labels)
    assert torch.equal(out.embeddings[0], tokens[0])
    assert torch.equal(out.embeddings[1, :1], tokens[1, :1])


@pytest.mark.parametrize("position", [-1, 3])
def test_a_position_outside_its_row_is_an_error(position: int) -> None:
    tokens, labels = torch.randn(1, 4, 4), torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="outside its row"):
        splice(
            tokens,
            torch.tensor([2]),
            labels,
            torch.randn(1, 2, 4),
            torch.tensor([2]),
            torch.tensor([0]),
            torch.tensor([position]),
        )


def test_peer_defect_06_gradients_reach_tokens_and_speech() -> None:
    tokens = torch.randn(1, 3, 2, requires_grad=True)
    speech = torch.randn(1, 2, 2, requires_grad=True)
    clip = [torch.tensor([x]) for x in (2, 0, 1)]
    out = splice(tokens, torch.tensor([3]), torch.zeros(1, 3, dtype=torch.long), speech, *clip)
    # a later layer may need the embeddings for its own gradient, as LoRA does
    out.embeddings.square().sum().backward()
    assert torch.equal(tokens.grad, 2 * tokens)
    assert torch.equal(speech.grad, 2 * speech)
