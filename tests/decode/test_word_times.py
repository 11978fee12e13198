"""Times of words, against the paths that they were made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from espnet_part.decode.word_times import (
    Word,
    _all_of,
    check_hears,
    check_spoken,
    word_times,
)
from espnet_part.errors import ConfigError
from tests.decode.conftest import RATE, make_speech


def test_what_is_not_heard_lies_between_its_neighbours() -> None:
    np.testing.assert_allclose(
        _all_of([None, (0.2, 0.3), None, None, (0.5, 0.9), None]),
        [(0, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.9), (0.9, 1)],
    )
    assert _all_of([None, None]) == [(0, 0.5), (0.5, 1)]
    assert _all_of([]) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [("Ab, cd 7 e-f", ["Ab,", "cd", "7", "e-f"]), ("你好 吗", ["你", "好", "吗"]), (" ", [])],
)
def test_words_lie_in_the_clip_in_their_order(spelling: Any, text: str, words: list[str]) -> None:
    speech = make_speech(2.0, 3)
    found = word_times(spelling, speech, text)
    assert [word.word for word in found] == words
    edges = [edge for word in found for edge in (word.start, word.end)]
    assert edges == sorted(edges) and all(0 <= edge <= 2.0 for edge in edges)
    with torch.no_grad():
        states, length = spelling.model.encoder(
            torch.from_numpy(speech)[None], torch.tensor([2 * RATE])
        )
        shares = spelling.model.adapter.heard_at(states, length, words)
    for word, share in zip(found, shares, strict=True):
        if share is not None:
            assert (word.start, word.end) == pytest.approx((2 * share[0], 2 * share[1]))


def test_a_word_of_a_window_in_its_recording() -> None:
    assert Word("so", 0.1, 0.25).later(30.0) == ("so", 30.1, 30.25)
    assert Word("so", 0.12345678, 1.0).to_dict() == {"word": "so", "start": 0.1235, "end": 1.0}


def test_who_has_no_times_of_words_says_so(model: Any, spelling: Any) -> None:
    check_hears(spelling)
    with pytest.raises(ConfigError, match="hears by CTC"):
        check_hears(model)
    check_spoken("asr")
    with pytest.raises(ConfigError, match="s2tt writes are not spoken"):
        check_spoken("s2tt")
