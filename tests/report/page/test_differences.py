"""Differences are those that are counted as errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.report.page.differences import mark_differences
from espnet_part.score.error_rate import count_errors

WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "unit", "marked"),
    [
        ("a b c", "a b c", "word", [("same", "a b c")]),
        ("a b c d", "a x c", "word", [
            ("same", "a"), ("missing", "b"), ("added", "x"), ("same", "c"), ("missing", "d")]),
        ("", "a b", "word", [("added", "a b")]),
        ("a b", "", "word", [("missing", "a b")]),
        ("", "", "word", []),
        ("你好世界", "你世界们", "character", [
            ("same", "你"), ("missing", "好"), ("same", "世界"), ("added", "们")]),
    ],
)  # fmt: skip
def test_pieces(reference, hypothesis, unit, marked):
    assert mark_differences(reference, hypothesis, unit) == marked


@given(WORDS, WORDS)
def test_both_texts_can_be_read_off(reference, hypothesis):
    marked = mark_differences(reference, hypothesis)
    without = [text for kind, text in marked if kind != "added"]
    assert " ".join(without) == reference
    assert " ".join(text for kind, text in marked if kind != "missing") == hypothesis
    words = {kind: sum(len(t.split()) for k, t in marked if k == kind) for kind, _ in marked}
    errors = count_errors([reference], [hypothesis]).errors
    assert max(words.get("missing", 0), words.get("added", 0)) <= errors
