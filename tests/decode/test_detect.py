"""Detecting the language, with a tiny random model that says what it was trained on."""

import math

import numpy as np
import pytest
import soundfile
import torch

from espnet_part.decode import detect
from espnet_part.decode.detect import Guess, candidates, take_opening, together
from espnet_part.decode.direction import Direction
from espnet_part.decode.longform import Window, Windowing
from espnet_part.decode.search import Search
from espnet_part.decode.speech2text import Speech2Text
from espnet_part.decode.transcribe import AudioFile, transcribe
from espnet_part.errors import ConfigError
from tests.decode.conftest import make_speech
from tests.decode.sound import RATE, room, speech

LANGS = ["de", "en", "fr"]
TRAINED_ON = frozenset({*(("asr", lang, lang) for lang in LANGS), ("s2tt", "de", "en")})
ASR = Direction("asr", "", "")


def knowing(model, **search):
    """The same model, that says what it was trained on."""
    other = Speech2Text.from_parts(
        model.model, model.tokenizer, model.prompts,
        Search(**{"max_tokens_per_second": 8, **search}),
    )  # fmt: skip
    other.trained_on = TRAINED_ON
    return other


@pytest.fixture
def polyglot(model):
    return knowing(model)


def expected(scores):
    weights = {lang: math.exp(detect._SCALE * score) for lang, score in scores.items()}
    shares = {lang: weight / sum(weights.values()) for lang, weight in weights.items()}
    return sorted(shares.items(), key=lambda pair: -pair[1])


def same(found, want):
    assert [lang for lang, _ in found] == [lang for lang, _ in want]
    assert [p for _, p in found] == pytest.approx([p for _, p in want], abs=1e-3)
    assert sum(p for _, p in found) == pytest.approx(1.0)


@pytest.mark.parametrize("beam_size", [1, 2])
def test_a_language_is_as_likely_as_the_tokens_of_its_answer(model, beam_size):
    polyglot = knowing(model, beam_size=beam_size, length_penalty=0.5)
    for seed in range(3):
        clip = make_speech(0.8, seed)
        scores = {}
        for lang in LANGS:
            _, _, ids, score = polyglot(clip, lang=lang)[0]
            limit = polyglot.limit(polyglot.prepare(Direction("asr", lang, lang).example(), clip))
            tokens = min(len(ids) + 1, limit)
            scores[lang] = (score if beam_size == 1 else score * tokens**0.5) / tokens
        same(polyglot.detect_language(clip), expected(scores))


def test_what_the_adapter_hears_counts(spelling):
    polyglot = knowing(spelling)
    clip = make_speech(0.8, 1)
    waveform = torch.from_numpy(clip)[None]
    states, lengths = polyglot.model.encoder(waveform, torch.tensor([len(clip)]))
    scores = {}
    for lang in LANGS:
        text, _, ids, score = polyglot(clip, lang=lang)[0]
        limit = polyglot.limit(polyglot.prepare(Direction("asr", lang, lang).example(), clip))
        margin = polyglot.model.adapter.second_opinion(states, lengths, [text])[2][0]
        scores[lang] = score / min(len(ids) + 1, limit) - detect.CTC_WEIGHT * min(margin, 100.0)
    same(polyglot.detect_language(clip), expected(scores))


def test_languages_that_it_may_be(polyglot):
    clip = make_speech(1.0, 2)
    assert {lang for lang, _ in polyglot.detect_language(clip, ["fr", "en"])} == {"fr", "en"}
    assert polyglot.detect_language(clip, ["fr"]) == [("fr", 1.0)]
    with pytest.raises(ConfigError, match=r"es cannot be detected: .* \(de, en, fr\)"):
        polyglot.detect_language(clip, ["de", "es"])
    polyglot.trained_on = frozenset()
    with pytest.raises(ConfigError, match=r"does not say .* name the one that is spoken .*--lang"):
        polyglot.detect_language(clip)


def test_candidates_suit_the_task():
    assert candidates(TRAINED_ON, ASR) == LANGS
    assert candidates(TRAINED_ON, Direction("asr", "", "en")) == ["en"]
    assert candidates(TRAINED_ON, Direction("s2tt", "", "en")) == ["de"]
    # nothing is translated into German: whatever else is spoken may be
    assert candidates(TRAINED_ON, Direction("s2tt", "", "de")) == ["en", "fr"]
    with pytest.raises(ConfigError, match="not trained to transcribe es"):
        candidates(TRAINED_ON, Direction("asr", "", "es"))


def test_a_call_without_a_language_decodes_the_one_that_is_detected(polyglot):
    clip = make_speech(1.2, 4)
    lang = polyglot.detect_language(clip)[0].lang
    assert polyglot(clip) == polyglot(clip, lang=lang)
    assert polyglot(clip, "s2tt", tgt="en") == polyglot(clip, "s2tt", "de", "en")
    with pytest.raises(ValueError, match="needs `lang`"):
        polyglot(task="t2tt", tgt="en", text="Guten Tag")


def test_a_file_s_language_is_decided_once_from_its_first_speech(polyglot, tmp_path, monkeypatch):
    pieces = [(1.0, -1.0, 1.5, -1.0, 5.0, -1.0, 1.2), (2.0, -1.0, 1.0), (-2.0,)]
    files = []
    for n, lengths in enumerate(pieces):
        audio = [
            room(abs(length), n) + (speech(length, 7 * n + k) if length > 0 else 0)
            for k, length in enumerate(lengths)
        ]
        soundfile.write(tmp_path / f"{n}.wav", np.concatenate(audio), RATE)
        files.append(AudioFile(tmp_path / f"{n}.wav", tmp_path / f"{n}.wav", None))
    windowing = Windowing(max_window=4.0)
    results = []
    for batch_size in (1, 8):  # which changes what is read at once
        monkeypatch.setattr(polyglot, "at_once", lambda _, most=batch_size: most)
        results.append(list(transcribe(files, polyglot, ASR, windowing, LANGS)))
    for once, again in zip(*results, strict=True):
        assert once.language == again.language
        assert [line.text for line in once.lines] == [line.text for line in again.lines]
    assert results[0][2].language is None and not results[0][2].lines  # silence has none
    for found in results[0][:2]:
        audio = soundfile.read(found.file.path, dtype="float32")[0]
        clips = [audio[round(x.start * RATE) : round(x.end * RATE)] for x in found.lines]
        opening, seconds = [], 0.0
        while seconds < 10 and len(opening) < len(clips):
            opening.append(dict(polyglot.detect_language(clips[len(opening)])))
            seconds += len(clips[len(opening) - 1]) / RATE
        shares = [math.prod(each[x] for each in opening) ** (1 / len(opening)) for x in LANGS]
        lang, probability = found.language
        assert probability == pytest.approx(max(shares) / sum(shares), abs=1e-4)
        assert lang == LANGS[shares.index(max(shares))]
        for line, clip in zip(found.lines, clips, strict=True):
            assert line.text == polyglot(clip, lang=found.language.lang)[0].text


def test_the_opening_takes_no_more_windows_than_it_needs():
    def windows(*seconds):
        start = 0.0
        for length in seconds:
            yield Window(start, start + length, np.full(round(length * RATE), start, np.float32))
            start += length

    rest = windows(4.0, 4.0, 4.0, 4.0)
    assert [window.start for window in take_opening(rest)] == [0.0, 4.0, 8.0]
    assert [window.start for window in rest] == [12.0]
    assert len(take_opening(windows(3.0, 1.0))) == 2
    assert take_opening(windows()) == []


def test_what_clips_say_together_is_the_mean_of_their_log_probabilities():
    found = together([[Guess("de", 0.8), Guess("en", 0.2)], [Guess("en", 0.6), Guess("de", 0.4)]])
    assert [lang for lang, _ in found] == ["de", "en"]
    de, en = math.sqrt(0.8 * 0.4), math.sqrt(0.2 * 0.6)
    assert found[0].probability == pytest.approx(de / (de + en))
    assert together([[Guess("de", 1.0)]]) == [("de", 1.0)]
    sure = together([[Guess("de", 1.0), Guess("en", 0.0)]] * 3)
    assert sure[0] == ("de", pytest.approx(1.0))
