"""The adapter that compresses: runs of labels, lengths, masks, its loss and gradients."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.model.adapters.ctc_compression.conf import CTCCompressionConf
from espnet_part.model.adapters.ctc_compression.module import CTCCompressionAdapter, compress
from espnet_part.model.build import build_adapter
from tests.model.tiny import make_batch, make_model

SIZES = {"dim": 16, "heads": 2, "ff": 32, "layers": 1, "dropout": 0.0, "characters": " abc"}


def small(**changes: Any) -> CTCCompressionAdapter:
    torch.manual_seed(0)
    conf = CTCCompressionConf(**{**SIZES, "downsample": 1, **changes})
    adapter = build_adapter("ctc_compression", conf, 8, 12).eval()
    # frames are labelled in various ways
    torch.nn.init.normal_(adapter.spelling.weight, std=2.0)
    return adapter


def by_hand(states: torch.Tensor, labels: list[int]) -> torch.Tensor:
    means = []
    frame = 0
    for label, group in itertools.groupby(labels):
        count = len(list(group))
        if label != 0:
            means.append(states[frame : frame + count].mean(0))
        frame += count
    return torch.stack(means or [states.mean(0)])


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=4))
def test_runs_of_a_label_are_averaged_and_blanks_dropped(clips: list[list[int]]) -> None:
    longest = max(map(len, clips)) + 2
    states = torch.randn(len(clips), longest, 3, generator=torch.Generator().manual_seed(0))
    states[:, -1] = torch.nan  # behind every clip
    labels = torch.full((len(clips), longest), 1)
    for row, clip in enumerate(clips):
        labels[row, : len(clip)] = torch.tensor(clip)
    frames = torch.tensor([len(clip) for clip in clips])
    means, lengths = compress(states, frames, labels)
    for row, clip in enumerate(clips):
        expected = by_hand(states[row, : len(clip)], clip)
        assert lengths[row] == len(expected)
        torch.testing.assert_close(means[row, : len(expected)], expected)
        assert not means[row, len(expected) :].any()


def test_output_does_not_depend_on_the_batch() -> None:
    adapter = small()
    lengths = torch.tensor([1, 7, 12, 13])
    x = torch.randn(4, 15, 8)  # not zero behind the lengths: the adapter must not look
    transcripts = ["", "ab", None, "c"]
    out, out_lengths, loss = adapter(x, lengths, transcripts)
    assert len(set(out_lengths.tolist())) > 1 and int(out_lengths.min()) >= 1
    assert bool((out_lengths <= adapter.output_lengths(lengths)).all())
    assert bool((out_lengths < adapter.output_lengths(lengths)).any())
    for i, n in enumerate(lengths):
        alone, length, own = adapter(x[i : i + 1, :n], n[None], transcripts[i : i + 1])
        assert length.tolist() == [out_lengths[i]]
        torch.testing.assert_close(out[i, : out_lengths[i]], alone[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(loss[i], own[0], atol=1e-4, rtol=0)
        assert not out[i, out_lengths[i] :].any()
    assert loss[2] == 0  # its transcript is not known


def test_its_second_opinion_is_what_it_heard() -> None:
    adapter = small()
    x, lengths = torch.randn(2, 12, 8), torch.tensor([12, 9])
    own, _, margins = adapter.second_opinion(x, lengths, ["", "abcabcabcabcabc"])
    for row, text in enumerate(own):
        _, frames, log_probs = adapter._hear(x[row : row + 1], lengths[row : row + 1])
        path = log_probs.argmax(-1)[0, : int(frames)].tolist()
        runs = [label for label, _ in itertools.groupby(path) if label]
        assert "".join(" abc"[label - 1] for label in runs).split() == text.split()
    assert margins[1] == float("inf")


@pytest.mark.parametrize("answers", [True, False])
def test_a_speech_llm_trains_with_and_without_speech(answers: bool) -> None:
    model = make_model(speech_adapter="ctc_compression", speech_adapter_conf=SIZES).train()
    model.answers = answers
    for key, p in model.named_parameters():
        p.requires_grad_(key.startswith("adapter."))
    for clips, transcripts in (
        ([[8000], [4000, 6000]], ["ab", "c", None]),
        ([[], []], []),
    ):
        model.zero_grad()
        model(**make_batch(clips), transcripts=transcripts).loss.backward()
        assert not [k for k, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_it_learns_to_hear_and_gets_shorter() -> None:
    adapter = small(dim=32).train()
    torch.manual_seed(1)
    letters = torch.randn(3, 8)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=5e-3)
    texts = ["abc", "cab", "bb", "acca"]
    clips = [letters[["abc".index(c) for c in text for _ in range(5)]] for text in texts]
    x = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    lengths = torch.tensor([len(clip) for clip in clips])
    for _ in range(150):
        optimizer.zero_grad()
        adapter(x, lengths, texts)[2].sum().backward()
        optimizer.step()
    out_lengths = adapter.eval()(x, lengths)[1]
    assert out_lengths.tolist() == [len(text) for text in texts]
