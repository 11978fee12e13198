"""Decoding with a tiny random model: equality over batch sizes, limits, the Python interface."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from espnet_part.data.audio import BadAudio
from espnet_part.data.chat import Tokens
from espnet_part.data.collate import Row
from espnet_part.data.datadir import DataDir, Example
from espnet_part.data.prompts import Prompts, parse_wording
from espnet_part.decode.search import Search
from espnet_part.decode.speech2text import Speech2Text
from espnet_part.errors import ConfigError, DataError
from tests.decode.conftest import make_speech


def _decode(model, examples, batch_size, batch_bins=None, **search):
    other = Speech2Text.from_parts(
        model.model,
        model.tokenizer,
        model.prompts,
        Search(**search),
        batch_size=batch_size,
        batch_bins=batch_bins,
    )
    return [found[0] for found in other.decode_batch(examples)]


@pytest.mark.parametrize("beam_size", [1, 3])
def test_peer_defect_01_batched_decoding_equals_single(model, data, beam_size):
    examples, faults = DataDir.load(data)
    assert not faults and len(examples) == 8
    search = {"beam_size": beam_size, "max_tokens_per_second": 8}
    single = _decode(model, examples, 1, **search)
    for budget in ((2,), (3,), (8,), (1, 1), (1, 150), (1, 700), (1, 10_000)):
        batched = _decode(model, examples, *budget, **search)
        assert [x.token_int for x in batched] == [x.token_int for x in single]
        assert [x.text for x in batched] == [x.text for x in single]
        assert [x.score for x in batched] == pytest.approx([x.score for x in single], abs=1e-4)
    # the test would say nothing if all clips led to the same tokens
    assert len({tuple(x.token_int[:4]) for x in single}) > 4


def test_n_best_are_those_of_transformers_beam_search(model, data):
    examples, _ = DataDir.load(data)
    search = {"beam_size": 4, "nbest": 3, "length_penalty": 0.7, "max_tokens_per_second": 8}
    other = _that_ends(model, 1.5)
    llm = other.model.llm
    found = {}
    for batch_size in (1, 8):
        other = Speech2Text.from_parts(
            other.model, model.tokenizer, model.prompts, Search(**search), batch_size=batch_size
        )
        found[batch_size] = other.decode_batch(examples)
    ends = 0
    for example, hypotheses, batched in zip(examples, found[1], found[8], strict=True):
        row = other.prepare(example)
        ((prompt, _),) = other._read([row], keep=False)
        out = llm.model.generate(
            inputs_embeds=prompt.embeddings[None],
            attention_mask=torch.ones(1, len(prompt.embeddings), dtype=torch.long),
            generation_config=GenerationConfig(
                num_beams=4, num_return_sequences=3, length_penalty=0.7, do_sample=False,
                max_new_tokens=prompt.limit, eos_token_id=llm.end_token_ids,
                pad_token_id=llm.end_token_ids[0], bos_token_id=llm.end_token_ids[0],
                return_dict_in_generate=True, output_scores=True,
            ),
        )  # fmt: skip
        want = [[t for t in ids if t not in llm.end_token_ids] for ids in out.sequences.tolist()]
        assert [x.token_int for x in hypotheses] == want == [x.token_int for x in batched]
        scores = [x.score for x in hypotheses]
        assert scores == sorted(scores, reverse=True) and len(set(map(tuple, want))) == 3
        assert scores == pytest.approx([x.score for x in batched], abs=1e-4)
        assert scores == pytest.approx(out.sequences_scores.tolist(), abs=1e-3)
        assert [x.text for x in hypotheses] == [model.tokenizer.decode(t).strip() for t in want]
        ends += len({len(ids) for ids in want}) > 1
    assert ends > 1  # of hypotheses that end at different lengths
    (best,) = _decode(
        other, examples[:1], 1, beam_size=4, length_penalty=0.7, max_tokens_per_second=8
    )
    assert best == found[1][0][0]


def test_no_more_hypotheses_than_beams(exp):
    with pytest.raises(
        ConfigError, match=r"`nbest` must not be more than `beam_size` \(got 3 of 2"
    ):
        Speech2Text(exp / "config.yaml", beam_size=2, nbest=3)
    with pytest.raises(ValueError, match="`nbest` must be positive"):
        Search(nbest=0)


def _that_ends(model, boost=2.0):
    """The same model with end tokens that are likelier, so that rows end at different lengths."""
    changed = copy.deepcopy(model.model)
    with torch.no_grad():
        changed.llm.model.get_output_embeddings().weight[model.chat.end_token_id] *= boost
    return Speech2Text.from_parts(changed, model.tokenizer, model.prompts)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_batches_whose_rows_end_at_different_lengths(model, beam_size):
    ending = _that_ends(model)
    examples = [Example(f"u{n}", "asr", "de", "de", "", audio="") for n in range(10)]
    speech = [make_speech(0.3 + 0.2 * n, n) for n in range(10)]
    results = []
    for batch_size in (1, 4, 10):
        ending = Speech2Text.from_parts(
            ending.model, model.tokenizer, model.prompts, Search(beam_size=beam_size),
            batch_size=batch_size,
        )  # fmt: skip
        results.append([found[0].token_int for found in ending.decode_batch(examples, speech)])
    assert results[0] == results[1] == results[2]
    limits = [ending.limit(ending.prepare(*pair)) for pair in zip(examples, speech, strict=True)]
    ended = [ids for ids, limit in zip(results[0], limits, strict=True) if len(ids) < limit]
    assert len(ended) > 2 and len({len(ids) for ids in results[0]}) > 3
    assert not any(model.chat.end_token_id in ids for ids in ended)


def test_peer_defect_07_no_endless_output(model, data):
    """A model that never says the end token stops at the limit that the audio's length sets."""
    examples, _ = DataDir.load(data)
    by_id = {e.utt_id: len(x.token_int) for e, x in zip(examples, _decode(model, examples, 8))}  # noqa: B905
    search = Search()
    for example in examples:
        if example.audio:
            assert by_id[example.utt_id] <= search.limit_speech(example.num_samples / 16000)
    assert by_id["v1"] <= search.limit_text(len("Buenos días".encode()))


def test_transcriptions_that_the_ctc_does_not_believe(spelling, data):
    examples, _ = DataDir.load(data)
    plain = _decode(spelling, examples, 8)
    heard = _decode(spelling, examples, 8, ctc_margin=0.0)
    for example, before, after in zip(examples, plain, heard, strict=True):
        if example.task != "asr":
            assert after == before  # a translation is not what is heard
            continue
        waveform = torch.from_numpy(spelling.prepare(example).speech)[None]
        states, lengths = spelling.model.encoder(waveform, torch.tensor([waveform.shape[1]]))
        own, scores, margins = spelling.model.adapter.second_opinion(states, lengths, [before.text])
        assert margins[0] > 0  # a random LLM
        assert after.text == own[0].strip() and set(after.text) <= set(" abcdefgh")
        assert after.score == pytest.approx(scores[0], abs=1e-4)
        assert spelling.tokenizer.decode(after.token_int).strip() == after.text
    assert any(after.text for after in heard[:5])
    for batch_size in (1, 3):
        again = _decode(spelling, examples, batch_size, ctc_margin=0.0)
        assert [x.token_int for x in again] == [x.token_int for x in heard]
    # the wider the margin, the less is replaced
    believed = [
        sum(
            a.token_int == b.token_int
            for a, b in zip(plain, _decode(spelling, examples, 8, ctc_margin=m), strict=True)
        )
        for m in (0.0, 5.0, 20.0, 1e9)
    ]
    assert believed == sorted(believed) and believed[0] < believed[-1]


def test_a_margin_needs_an_adapter_that_hears(model):
    with pytest.raises(ConfigError, match="search: ctc_margin: the model"):
        Speech2Text.from_parts(model.model, model.tokenizer, model.prompts, Search(ctc_margin=1.0))
    with pytest.raises(ValueError, match="must not be negative"):
        Search(ctc_margin=-1.0)


def test_limits():
    search = Search(max_tokens_per_second=10, max_tokens_ratio=2, max_tokens_extra=5)
    assert search.limit_speech(2.0) == 25 and search.limit_speech(0.01) == 6
    assert search.limit_text(7) == 19
    assert Search(max_new_tokens=4).limit_speech(100) == 4
    for wrong in ({"beam_size": 0}, {"max_new_tokens": 0}, {"max_tokens_ratio": -1.0}):
        with pytest.raises(ValueError, match="must be positive"):
            Search(**wrong)


def test_call_gives_espnets_tuple(model):
    speech = make_speech(1.0, 7)
    best, *more = model(speech, lang="de")
    text, tokens, token_int, score = best
    assert not more and isinstance(text, str) and isinstance(score, float)
    assert len(tokens) == len(token_int) > 0 and all(isinstance(token, str) for token in tokens)
    assert model(torch.from_numpy(speech), lang="de")[0].token_int == token_int
    assert model(speech.astype(np.float64), lang="de")[0].token_int == token_int
    other = model(speech, task="s2tt", lang="de", tgt="en")[0]
    assert other.token_int != token_int
    assert model(task="t2tt", lang="de", tgt="en", text="Guten Tag")[0].token_int


def test_score_is_the_tokens_log_probability(model):
    """Computed anew from one forward pass over prompt and hypothesis."""
    from espnet_part.data.chat import Tokens
    from espnet_part.data.collate import Row, collate

    row = model.prepare(
        Example("u", "asr", "de", "de", "", audio="", num_samples=None), make_speech(0.7, 3)
    )
    (best,) = model.decode_rows([row])[0]
    ended = len(best.token_int) < model.limit(row)
    answer = best.token_int + [model.chat.end_token_id] * ended
    tokens = Tokens(row.tokens.prefix_ids, row.tokens.suffix_ids, answer)
    batch = collate([Row(row.example, tokens, row.speech)], 0)
    with torch.no_grad():
        loss = model.model(**batch).loss
    assert best.score == pytest.approx(-float(loss), abs=1e-3)


def test_wrong_calls(model):
    with pytest.raises(ValueError, match="needs speech"):
        model(lang="de")
    with pytest.raises(ValueError, match="needs text"):
        model(task="t2tt", lang="de", tgt="en")
    speech = make_speech(0.5, 1)
    with pytest.raises(ValueError, match="asr writes the language that it reads: de to en"):
        model(speech, task="asr", lang="de", tgt="en")
    with pytest.raises(ValueError, match="s2tt writes another language than it reads: de to de"):
        model(speech, task="s2tt", lang="de", tgt="de")
    with pytest.raises(ValueError, match="the task t2tt reads no speech"):
        model(speech, task="t2tt", lang="de", tgt="en", text="Guten Tag")
    with pytest.raises(ValueError, match="the task asr reads no text"):
        model(speech, lang="de", text="Guten Tag")
    with pytest.raises(ValueError, match="unknown task 'st'; known: asr, s2tt, t2tt"):
        model(speech, task="st", lang="de", tgt="en")
    with pytest.raises(ValueError, match="needs `tgt`"):
        model(speech, task="s2tt", lang="de")
    with pytest.raises(ValueError, match="must be floats"):
        model((speech * 32767).astype(np.int16), lang="de")
    for speech in (np.zeros((2, 100)), np.zeros(0), np.array([np.nan] * 100)):
        with pytest.raises(ValueError, match="finite samples of one channel"):
            model(speech, lang="de")
    with pytest.raises(ConfigError, match="does not say which languages"):
        model(make_speech(0.5, 1))
    for path in ("speech.wav", Path("speech.wav")):
        with pytest.raises(TypeError, match=r"not a path: .*speech.wav.* soundfile.read"):
            model(path, lang="de")
    with pytest.raises(BadAudio, match="missing file"):
        model.decode_batch([Example("u", "asr", "de", "de", "", audio="/nowhere.wav")])


def test_a_prompt_and_a_context_of_one_s_own(model):
    clip = make_speech(1.0, 7)
    plain = model(clip, lang="de")[0]
    told = model(clip, lang="de", context="Names: Nguyen, Kraków")[0]
    asked = model(clip, lang="de", prompt="{speech}\nWrite {lang}.")[0]
    assert len({tuple(x.token_int) for x in (plain, told, asked)}) == 3
    assert model(clip, lang="de", context=" ")[0] == plain
    # as if the file of prompts had them
    for template, found in [
        ("Names: Nguyen, Kraków\n{speech}\nTranscribe the {lang} speech.", told),
        ("{speech}\nWrite {lang}.", asked),
    ]:
        prompts = Prompts.from_mapping({"asr": {"en": [template]}}, "p")
        other = Speech2Text.from_parts(
            model.model, model.tokenizer, prompts, Search(max_tokens_per_second=8)
        )
        assert other(clip, lang="de")[0] == found
    with pytest.raises(ConfigError, match=r"prompt: {speech} must stand in it once"):
        model(clip, lang="de", prompt="Write it.")
    with pytest.raises(DataError, match="the LLM's context has 600"):
        model(clip, lang="de", context="word " * 200)


def test_what_a_context_says_is_no_control_token(model):
    example = Example("u", "asr", "de", "de", "", audio="")
    row = model.prepare(example, make_speech(0.5, 1), context="Nguyen <|end|> Kraków")
    assert model.chat.end_token_id not in row.tokens.prefix_ids
    assert "Nguyen <|end|> Kraków" in model.tokenizer.decode(row.tokens.prefix_ids)


def test_batches_with_different_prompts_equal_single_decoding(model):
    wording = parse_wording("Say in {lang}: {speech}", "asr", "prompt")
    rows = [
        model.prepare(
            Example(f"u{n}", "asr", ("de", "en")[n % 2], ("de", "en")[n % 2], "", audio=""),
            make_speech(0.4 + 0.1 * n, n),
            wording if n % 3 == 0 else None,
            "x" * 7 * (n % 4),
        )
        for n in range(9)
    ]
    single = [model.decode_rows([row])[0][0] for row in rows]
    batched = [found[0] for found in model.decode_rows(rows)]
    assert [x.token_int for x in batched] == [x.token_int for x in single]
    assert len({tuple(x.token_int) for x in single}) > 6


def test_what_exceeds_the_context_is_refused(model):
    text = "wort " * 200
    with pytest.raises(DataError, match="the LLM's context has 600"):
        model(task="t2tt", lang="de", tgt="en", text=text)
    almost = "x" * 560  # room for a few tokens only
    assert len(model(task="t2tt", lang="de", tgt="en", text=almost[:500])[0].token_int) < 100


def test_bad_configurations(exp, tmp_path):
    with pytest.raises(ConfigError, match="dtype"):
        Speech2Text(exp / "config.yaml", dtype="int8")
    with pytest.raises(ConfigError, match="batch_size"):
        Speech2Text(exp / "config.yaml", exp / "model.safetensors", batch_size=0)
    with pytest.raises(ConfigError, match="`batch_bins` must be at least 1"):
        Speech2Text(exp / "config.yaml", exp / "none.safetensors", batch_bins=0)
    with pytest.raises(ConfigError, match="beam_size"):
        Speech2Text(exp / "config.yaml", beam_size=0)
    text = (exp / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("prompts:", "promptz:"))
    with pytest.raises(ConfigError, match="`prompts` is missing"):
        Speech2Text(tmp_path / "config.yaml")


def test_texts_are_read_some_at_a_time(model):
    text = Example("u", "t2tt", "de", "en", "", "source")
    rows = [Row(text, Tokens([0] * 50, [0] * 10, [])) for _ in range(500)]
    groups = list(model._encoded_together(rows))
    assert sum(map(len, groups)) == 500
    assert 1 < max(map(len, groups)) < 50


def test_no_more_is_encoded_at_once_than_is_decoded_at_once(model):
    examples = [Example(f"u{n}", "asr", "de", "de", "", audio="") for n in range(12)]
    rows = [model.prepare(e, make_speech(1.0 + 0.01 * n, n)) for n, e in enumerate(examples)]
    longest = max(sum(model._size(row)) for row in rows)
    assert longest == len(model._read(rows[-1:], False)[0][0].embeddings) + model.limit(rows[-1])
    for bins, most in ((longest - 1, 1), (3 * longest, 3), (4 * longest, 4)):
        other = Speech2Text.from_parts(
            model.model, model.tokenizer, model.prompts, model.search, batch_bins=bins
        )
        groups = list(other._encoded_together([*rows, None, rows[0]]))
        assert [row for group in groups for row in group] == [*rows, rows[0]]
        assert groups[-2:] == [[], [rows[0]]]
        assert max(map(len, groups)) == most
        assert other.at_once(1.0) >= most and other.at_once(1e4) == 1
    assert max(map(len, model._encoded_together(rows))) == 12
    assert model.at_once(1.0) == model.at_once(1e4) == 8


def test_bfloat16_decodes(exp):
    model = Speech2Text(exp / "config.yaml", exp / "model.safetensors", dtype="bfloat16")
    assert model(make_speech(0.5, 1), lang="de")[0].token_int
