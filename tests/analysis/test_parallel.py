"""Utterances that say the same are found through their texts in one language."""

from __future__ import annotations

import pytest

from espnet_part.analysis.groups import draw_batches, group_of
from espnet_part.analysis.parallel import pairs, utterances
from espnet_part.data.datadir import Example
from espnet_part.errors import DataError


def recordings(lang: str, numbers: range, text: str = "Sentence {}.") -> list[Example]:
    """Transcribed; those that are not English are also translated."""
    found = []
    for n in numbers:
        audio = f"{lang}{n}.wav"
        said = text.format(n) if lang == "en" else f"{lang} satz {n}"
        found.append(Example(f"{lang}{n}-asr", "asr", lang, lang, said, audio=audio))
        if lang != "en":
            found.append(Example(f"{lang}{n}-st", "s2tt", lang, "en", f"sentence {n}", said, audio))
    return found


def test_translations_pair_recordings_of_two_languages() -> None:
    examples = recordings("de", range(20)) + recordings("en", range(10, 30))
    chosen = utterances(examples, "en", 100, seed=0)
    assert {lang: len(utts) for lang, utts in chosen.items()} == {"de": 20, "en": 20}
    found = pairs(chosen["de"], chosen["en"])
    texts = [(chosen["de"][i].example.text, chosen["en"][j].example.text) for i, j in found]
    assert sorted(texts) == sorted((f"de satz {n}", f"Sentence {n}.") for n in range(10, 20))


def test_the_parallel_ones_come_first_and_a_sentence_once() -> None:
    examples = recordings("de", range(20)) + recordings("en", range(10, 30))
    again = [
        Example("x-asr", "asr", "en", "en", "sentence 10", audio="another.wav"),
        Example("t", "t2tt", "de", "en", "text", "Text"),
    ]
    chosen = utterances(examples + again, "en", 10, seed=1)
    assert {u.example.text for u in chosen["de"]} == {f"de satz {n}" for n in range(10, 20)}
    assert len(pairs(chosen["de"], chosen["en"])) == 10
    assert len(pairs(chosen["en"], chosen["en"])) == 10


def test_what_is_said_again_is_taken_once_without_translations() -> None:
    examples = [
        Example(f"u{n}", "asr", "hi", "hi", text, audio=f"{n}.wav")
        for n, text in enumerate([*(f"की {n}" for n in range(12)), "की 3", "का 3", ""])
    ]
    chosen = utterances(examples, "en", 100, seed=0)["hi"]
    assert len(chosen) == 13 and sum(u.example.text == "की 3" for u in chosen) == 1


def test_of_two_translations_the_first_by_name_counts() -> None:
    examples = recordings("de", range(10))
    extra = [
        Example(f"{n}-first", "s2tt", "de", "en", f"s {n}", audio=f"de{n}.wav") for n in range(10)
    ]
    for order in (extra + examples, examples + extra):
        chosen = utterances(order, "en", 100, seed=0)["de"]
        assert {u.pivot_text for u in chosen} == {f"s {n}" for n in range(10)}


def test_too_few_are_an_error() -> None:
    with pytest.raises(DataError, match="ten different utterances"):
        utterances(recordings("de", range(9)), "en", 100, seed=0)


def test_batches_hold_one_group_and_no_example_twice() -> None:
    examples = recordings("de", range(20)) + recordings("en", range(11))
    drawn = draw_batches(examples, batches=4, batch_size=5, seed=0)
    assert [group for group, _ in drawn] == ["asr de"] * 4 + ["asr en"] * 2 + ["s2tt de-en"] * 4
    for group, batch in drawn:
        assert {group_of(example) for example in batch} == {group} and len(batch) == 5
    ids = [example.utt_id for _, batch in drawn for example in batch]
    assert len(set(ids)) == len(ids)
    assert drawn == draw_batches(examples[::-1], batches=4, batch_size=5, seed=0)
    with pytest.raises(DataError, match="asr en: 11 examples"):
        draw_batches(examples, batches=4, batch_size=6, seed=0)
