"""Signs of hallucination: repeats that the reference has not, and outputs far too long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.score.hallucination import find_signs, most_repeats
from espnet_part.score.score_config import HallucinationConfig

CONFIG = HallucinationConfig()


def plain_most_repeats(units, longest):
    """The definition, word for word."""
    best = 1
    for n in range(1, longest + 1):
        for start in range(len(units)):
            piece, times = units[start : start + n], 1
            while len(piece) == n and units[start + times * n :][:n] == piece:
                times += 1
            best = max(best, times)
    return best


@given(st.lists(st.sampled_from("abc"), max_size=24), st.integers(1, 5))
def test_repeats_equal_their_definition(units, longest):
    expected = plain_most_repeats(units, longest)
    assert most_repeats(units, longest) == expected
    assert most_repeats(units, longest, 4) == expected or expected < 4


@pytest.mark.parametrize(
    ("reference", "hypothesis", "unit", "seconds", "signs"),
    [
        ("we saw it", "we saw it", "word", 1.0, []),
        ("we saw it", "", "word", 1.0, []),
        ("we saw it", "we saw saw saw it", "word", 5.0, []),
        ("we saw it", "we saw it saw it saw it saw it", "word", 5.0, ["repeated"]),
        ("no no no no", "no no no no", "word", 5.0, []),
        ("no no no no", "no no no no no", "word", 5.0, ["repeated"]),
        ("哈哈哈哈哈", "哈哈哈哈哈", "character", 2.0, []),
        ("你好", "你好谢谢观看请订阅", "character", 3.0, []),
        ("你好", "你好谢谢观看请订阅点赞", "character", 3.0, ["longer_than_reference"]),
        ("a b c", "a b c d e f g h i j k l", "word", 60.0, ["longer_than_reference"]),
        (
            "a b c d e f g h i j k l m n",
            "a b c d e f g h i j k l m n",
            "word",
            1.1,
            ["longer_than_speech"],
        ),
        ("a b c d e f g h i j k l m n", "a b c d e f g h i j k l m n", "word", None, []),
        ("", "thank you for watching", "word", 1.0, []),
        ("", "thank you for watching this video", "word", 1.0, ["longer_than_reference"]),
    ],
)
def test_signs(reference, hypothesis, unit, seconds, signs):
    cut = str.split if unit == "word" else list
    assert find_signs(cut(reference), cut(hypothesis), unit, seconds, CONFIG) == signs


def test_thresholds_are_the_configurations():
    words = list("abab")
    assert find_signs([], words, "word", None, HallucinationConfig(repeats=2)) == ["repeated"]
    strict = HallucinationConfig(words_per_second=1, extra_units=0, length_ratio=4)
    assert find_signs(["a"], words, "word", 3, strict) == ["longer_than_speech"]
