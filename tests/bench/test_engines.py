"""The benchmark of engines counts what is the same."""

import runpy
from pathlib import Path

BENCH = runpy.run_path(str(Path(__file__).parents[2] / "tools/bench/engines.py"))


def test_agreement_counts_utterances_and_the_reference_s_tokens_that_are_found():
    reference = {"a": [1, 2, 3, 4], "b": [5, 6, 7, 8], "c": []}
    assert BENCH["agreement"](reference, reference) == "3 of 3, 100.0 %"
    # one that is another, then one that is missing and one too many
    other = {"c": [], "b": [6, 7, 8, 9], "a": [1, 2, 30, 4]}
    assert BENCH["agreement"](other, reference) == "1 of 3, 75.0 %"
