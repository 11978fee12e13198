"""The adapter that spells: what it reads to the LLM, its loss, its gradients, at any batch size."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from espnet_part.errors import ConfigError
from espnet_part.model.adapters.ctc_spelling.conf import CTCSpellingConf
from espnet_part.model.adapters.ctc_spelling.module import (
    BLANK,
    CTCSpellingAdapter,
    _collapse,
    _mishear,
)
from espnet_part.model.build import build_adapter
from espnet_part.model.config import ModelConfig
from espnet_part.model.shapes import parameter_shapes
from tests.model.tiny import byte_tokenizer, make_batch, make_model, mapping

CHARACTERS = " abcé"
SIZES = {"dim": 16, "heads": 2, "ff": 32, "layers": 1, "dropout": 0.0}


def small(**changes: Any) -> CTCSpellingAdapter:
    torch.manual_seed(0)
    conf = CTCSpellingConf(**{**SIZES, "characters": CHARACTERS, "downsample": 1, **changes})
    adapter = build_adapter("ctc_spelling", conf, 8, 12).eval()
    adapter.match_scale(0.02)
    adapter.read_llm(torch.nn.Embedding(400, 12), byte_tokenizer())
    # frames are spelled in various ways
    torch.nn.init.normal_(adapter.spelling.weight, std=2.0)
    return adapter


def test_output_does_not_depend_on_the_batch() -> None:
    adapter = small()
    torch.nn.init.normal_(adapter.projection.weight)
    lengths = torch.tensor([1, 7, 12, 13])
    x = torch.randn(4, 15, 8)  # not zero behind the lengths: the adapter must not look
    transcripts = ["", "ab", None, "c"]
    out, out_lengths, loss = adapter(x, lengths, transcripts)
    assert len(set(out_lengths.tolist())) > 1
    for i, n in enumerate(lengths):
        alone, length, own = adapter(x[i : i + 1, :n], n[None], transcripts[i : i + 1])
        assert length.tolist() == [out_lengths[i]]
        torch.testing.assert_close(out[i, : out_lengths[i]], alone[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(loss[i], own[0], atol=1e-4, rtol=0)
        assert not out[i, out_lengths[i] :].any()
    assert loss[2] == 0  # its transcript is not known


def test_the_llm_reads_its_own_tokens_of_what_is_spelled() -> None:
    adapter = small()
    path = [1, 2, 2, 0, 3, 4, 0, 0, 1, 1, 0, 1, 5, 0]  # " aa-bc-- -  é-"
    assert _collapse(path, CHARACTERS)[0] == "abc é"
    heard = adapter._tokens(path)
    wanted = byte_tokenizer()("abc é", add_special_tokens=False)["input_ids"]
    assert [token.id for token in heard] == wanted
    assert (heard[0].start, heard[-1].end) == (1, 13)
    # two tokens of one character were heard in the same frames
    assert {token[1:] for token in heard[-2:]} == {(12, 13)}
    read, lengths = adapter._read(torch.randn(1, 14, 16), [heard])
    assert lengths.tolist() == [len(wanted)]
    table = adapter._llm[0]  # type: ignore[index]
    torch.testing.assert_close(read[0], table(torch.tensor(wanted)))  # the projection starts at 0


def test_the_states_of_a_token_are_those_that_it_was_heard_in() -> None:
    adapter = small()
    torch.nn.init.normal_(adapter.projection.weight)
    states = torch.randn(2, 9, 16)
    heard = [adapter._tokens([0, 0, 2, 3, 4, 4, 0, 1, 3]), []]
    read, lengths = adapter._read(states, heard)
    assert lengths.tolist() == [len(heard[0]), 1]
    assert not read[1].any()  # nothing heard
    for place, token in enumerate(heard[0]):
        mean = states[0, token.start : token.end].mean(dim=0)
        wanted = adapter._llm[0](torch.tensor(token.id)) + adapter.projection(mean)  # type: ignore[index]
        torch.testing.assert_close(read[0, place], wanted, atol=1e-5, rtol=1e-4)


@given(st.lists(st.integers(0, len(CHARACTERS)), max_size=30))
def test_collapsing_is_that_of_ctc(path: list[int]) -> None:
    units = [u for u, before in zip(path, [BLANK, *path], strict=False) if u not in (BLANK, before)]
    text, spans = _collapse(path, CHARACTERS)
    assert text == " ".join("".join(CHARACTERS[u - 1] for u in units).split())
    assert len(spans) == len(text)
    for character, (start, end) in zip(text, spans, strict=True):
        assert CHARACTERS[path[start] - 1] == character and start < end <= len(path)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_transcripts_are_spelled_in_lower_case_and_composed() -> None:
    adapter = small()
    assert adapter.spell("  A\tB, e\u0301x-c\n") == [2, 1, 3, 1, 5, 1, 4]
    assert adapter.spell("") == adapter.spell("?!") == []


def test_the_loss_is_that_of_ctc_and_weighted() -> None:
    adapter = small(ctc_weight=0.5)
    x, lengths = torch.randn(2, 9, 8), torch.tensor([9, 2])
    _, _, loss = adapter(x, lengths, ["ab c", "abc"])
    states, frames = adapter.states(x, lengths)
    log_probs = adapter.spelling(states).double().log_softmax(-1)
    wanted = F.ctc_loss(
        log_probs[:1].transpose(0, 1), torch.tensor([[2, 3, 1, 4]]), frames[:1], torch.tensor([4]),
        reduction="sum",
    )  # fmt: skip
    torch.testing.assert_close(loss[0].double(), 0.5 * wanted)
    assert loss[1] == 0  # longer than the clip: no path, no infinity


def test_parts_of_a_text_are_heard_where_the_ctc_spells_them(monkeypatch: Any) -> None:
    adapter = small(downsample=2)
    path = "--ab-b--  --cc-é-"  # a frame is two states
    units = [BLANK if c == "-" else CHARACTERS.index(c) + 1 for c in path]
    log_probs = torch.full((1, len(path), len(CHARACTERS) + 1), 0.1)
    log_probs[0, range(len(path)), units] = 9.0
    frames = torch.tensor([len(path)])
    heard = (torch.zeros(1), frames, log_probs.log_softmax(-1))
    monkeypatch.setattr(adapter, "_hear", lambda x, length: heard)
    x, states = torch.zeros(1, 33, 8), torch.tensor([33])
    found = adapter.heard_at(x, states, ["Abb,", "7", "cé"])
    assert found[1] is None
    assert found[0] == pytest.approx((2 * 2 / 33, 6 * 2 / 33))
    assert found[2] == pytest.approx((12 * 2 / 33, 16 * 2 / 33))
    assert adapter.heard_at(x, states, ["abc"] * 9) == [None] * 9  # no path is so long
    assert adapter.heard_at(x, states, ["7"]) == [None] and adapter.heard_at(x, states, []) == []


def test_a_part_ends_with_the_clip_at_the_latest() -> None:
    adapter = small(downsample=3)
    spans = adapter.heard_at(torch.randn(1, 5, 8), torch.tensor([5]), ["ab"])
    assert spans == [(0.0, 1.0)]


def test_the_second_opinion_is_by_ctc() -> None:
    adapter = small()
    x, lengths = torch.randn(4, 12, 8), torch.tensor([12, 9, 1, 5])
    texts = ["Ab, c!", "", "abcabcabc", "bcé"]
    own, scores, margins = adapter.second_opinion(x, lengths, texts)
    states, frames = adapter.states(x, lengths)
    log_probs = adapter.spelling(states).double().log_softmax(-1)

    def log_prob(clip: int, text: str) -> float:
        n, units = int(frames[clip]), adapter.spell(text)
        targets, length = torch.tensor([units], dtype=torch.long), torch.tensor([len(units)])
        loss = F.ctc_loss(
            log_probs[clip : clip + 1, :n].transpose(0, 1), targets, frames[clip : clip + 1], length,
            reduction="sum",
        )  # fmt: skip
        return -loss.item()

    for clip, text in enumerate(texts):
        path = log_probs[clip, : frames[clip]].argmax(-1).tolist()
        assert own[clip] == _collapse(path, CHARACTERS)[0]
        assert scores[clip] == pytest.approx(log_prob(clip, own[clip]), abs=1e-4)
        difference = log_prob(clip, own[clip]) - log_prob(clip, text)
        assert margins[clip] == pytest.approx(difference / max(1, len(own[clip])), abs=1e-4)
    assert margins[2] == float("inf")  # nine characters in a frame
    assert adapter.second_opinion(x, lengths, own)[2] == pytest.approx([0.0] * 4, abs=1e-5)
    alone = [
        adapter.second_opinion(x[i : i + 1, :n], lengths[i : i + 1], texts[i : i + 1])
        for i, n in enumerate(lengths)
    ]
    assert [one[0][0] for one in alone] == own
    assert [one[2][0] for one in alone] == pytest.approx(margins, abs=1e-4)


def test_everything_trains() -> None:
    adapter = small().train()
    out, _, loss = adapter(torch.randn(2, 30, 8), torch.tensor([30, 20]), ["abc", None])
    (out.square().sum() + loss.sum()).backward()
    assert [n for n, p in adapter.named_parameters() if p.grad is None] == []


def test_a_tokenizer_without_places_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs a tokenizer of the library tokenizers"):
        small().read_llm(torch.nn.Embedding(4, 12), object())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"characters": "abc"}, "and the space"),
        ({"characters": " abb"}, "each character once"),
        ({"characters": " aB"}, "lower case"),
        ({"ctc_weight": 0.0}, "`ctc_weight` must be positive"),
        ({"heads": 3}, "heads"),
    ],
)
def test_faulty_settings_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CTCSpellingConf(**{**SIZES, "characters": CHARACTERS, **changes})


def speech_llm() -> Any:
    model = make_model(
        speech_adapter="ctc_spelling", speech_adapter_conf={**SIZES, "characters": CHARACTERS}
    )
    # a table for all ids of the tokenizer, which a tiny LLM has not
    model.adapter.read_llm(torch.nn.Embedding(400, model.llm.dim), byte_tokenizer())
    return model


def test_shapes_are_known_by_arithmetic() -> None:
    values = mapping(
        speech_adapter="ctc_spelling", speech_adapter_conf={**SIZES, "characters": CHARACTERS}
    )
    known = parameter_shapes(ModelConfig.from_mapping(values, "test"))
    built = {name: tuple(p.shape) for name, p in speech_llm().named_parameters()}
    assert known == built


def test_the_loss_of_the_answers_and_that_of_the_adapter_add_up() -> None:
    model = speech_llm()
    batch = make_batch([[8000], [16000], []])
    alone = model(**batch)
    both = model(**batch, transcripts=["abc", None])
    besides = model.read(**batch, transcripts=["abc", None])[1]
    assert besides[0] > 0 and besides[1] == 0
    torch.testing.assert_close(both.loss, alone.loss + besides.sum())
    torch.testing.assert_close(both.row_loss, alone.row_loss)  # what is reported is the answers'


def test_the_adapter_learns_alone_without_the_llm() -> None:
    model = speech_llm()
    model.adapter.requires_grad_(True)
    model.train()
    model.answers = False
    model.llm.hidden = None  # must not be run
    batch = make_batch([[8000], [16000], []])
    output = model(**batch, transcripts=["abc", "ab"])
    besides = model.read(**batch, transcripts=["abc", "ab"])[1]
    torch.testing.assert_close(output.row_loss, torch.cat([besides, torch.zeros(1)]).detach())
    assert output.row_tokens.sum() == (batch["labels"] != -100).sum()
    assert output.row_correct.isnan().all()  # nothing was answered
    output.loss.backward()
    assert [n for n, p in model.adapter.named_parameters() if p.grad is None] == []
    assert model.adapter.spelling.weight.grad.any()


@pytest.mark.parametrize("answers", [True, False])
def test_a_batch_without_speech_gives_every_parameter_a_gradient(answers: bool) -> None:
    model = speech_llm()
    model.adapter.requires_grad_(True)
    model.train()
    model.answers = answers
    model(**make_batch([[], []])).loss.backward()
    assert [n for n, p in model.adapter.named_parameters() if p.grad is None] == []


def test_noise_changes_its_share_of_characters_in_training_alone() -> None:
    torch.manual_seed(0)
    text, spans = "abc é" * 400, [(n, n + 1) for n in range(2000)]
    # the next choice of every other frame is a blank, of the others an "é"
    second = [BLANK, 5] * 1000
    noisy, kept = _mishear(text, spans, second, 0.4, CHARACTERS)
    assert len(noisy) == len(kept) and set(noisy) <= set(CHARACTERS)
    frames = [start for start, _ in kept]
    assert frames == sorted(frames)
    doubled = len(frames) - len(set(frames))
    assert doubled == pytest.approx(200, abs=45)
    misheard = {f: c for f, c in zip(frames, noisy, strict=True) if c != text[f]}
    assert set(misheard.values()) == {"é"} and all(second[frame] == 5 for frame in misheard)
    assert len(misheard) == pytest.approx(200 * 4 / 5, abs=45)  # one in five was an "é" already
    dropped = [frame for frame in range(2000) if frame not in set(frames)]
    assert len(dropped) == pytest.approx(200 + 200, abs=60)  # at once, and misheard as a blank
    assert len([f for f in dropped if second[f] == 5]) == pytest.approx(100, abs=35)

    adapter = small(noise=0.5)
    x, lengths = torch.randn(2, 30, 8), torch.tensor([30, 25])
    plain = adapter(x, lengths)[0]
    assert torch.equal(plain, adapter(x, lengths)[0])
    adapter.train()
    assert any(adapter(x, lengths)[0].shape != plain.shape for _ in range(10))
