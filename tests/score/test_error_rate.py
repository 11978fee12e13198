"""Error counts equal jiwer's, and the conventions at the edges."""

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.score.error_rate import COLUMNS, ErrorCounts, count_errors, error_statistics

SENTENCES = st.lists(st.sampled_from(["a", "b", "c", "größe", "это"]), max_size=12).map(" ".join)

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


@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=8), st.booleans())
def test_each_utterance_equals_jiwer(pairs, by_words):
    """Random texts, one by one and as a whole."""
    references, hypotheses = (list(side) for side in zip(*pairs, strict=True))
    process = jiwer.process_words if by_words else jiwer.process_characters
    unit = "word" if by_words else "character"
    statistics = error_statistics(references, hypotheses, unit)
    for row, reference, hypothesis in zip(statistics, references, hypotheses, strict=True):
        count = dict(zip(COLUMNS, row.tolist(), strict=True))
        alone = process(reference, hypothesis)
        assert count["correct"] == alone.hits
        for kind in ("substitutions", "deletions", "insertions"):
            assert count[kind] == getattr(alone, kind)
        assert count["wrong_sentences"] == (reference != hypothesis)
    together, whole = ErrorCounts.of(statistics), process(references, hypotheses)
    assert together.correct == whole.hits
    assert together.errors == whole.substitutions + whole.deletions + whole.insertions
    assert together.sentences == len(pairs)
