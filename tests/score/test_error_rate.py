"""Error counts equal jiwer's, and the conventions at the edges."""

import jiwer
import pytest

from espnet_part.score.error_rate import ErrorCounts, count_errors

REFERENCES = ["the cat sat on the mat", "hello world", "a b c", ""]
HYPOTHESES = ["the cat sit on mat", "hello big world", "", "noise"]


def test_equals_jiwer():
    counts = count_errors(REFERENCES, HYPOTHESES)
    assert counts.rate == pytest.approx(100 * jiwer.wer(REFERENCES, HYPOTHESES))
    characters = count_errors(REFERENCES, HYPOTHESES, "character")
    assert characters.rate == pytest.approx(100 * jiwer.cer(REFERENCES, HYPOTHESES))


def test_hand_counted():
    counts = count_errors(REFERENCES, HYPOTHESES)
    assert counts == ErrorCounts(
        sentences=4,
        wrong_sentences=4,
        reference=11,
        correct=6,
        substitutions=1,
        deletions=4,
        insertions=2,
    )
    assert counts.rate == pytest.approx(100 * 7 / 11)


def test_pooled_is_not_the_mean_of_rates():
    one, two = count_errors(["a"], ["b"]), count_errors(["a b c d"], ["a b c d"])
    pooled = one + two
    assert pooled == count_errors(["a", "a b c d"], ["b", "a b c d"])
    assert pooled.rate == pytest.approx(20.0)
    assert pooled.sentence_rate == 50.0


def test_without_reference_units():
    assert count_errors([], []).rate == 0.0
    assert count_errors([""], [""]).rate == 0.0
    assert count_errors([""], ["x"]).rate == float("inf")


def test_unequal_lists_are_refused():
    with pytest.raises(ValueError, match="1 references but 0"):
        count_errors(["a"], [])
