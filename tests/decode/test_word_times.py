"""Times of words, against the paths that they were made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from espnet_part.decode.word_times import _all_of, word_times
from espnet_part.errors import ConfigError


def test_what_is_not_heard_lies_between_its_neighbours() -> None:
    np.testing.assert_allclose(
        _all_of([None, (0.2, 0.3), None, None, (0.5, 0.9), None]),
        [(0, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.9), (0.9, 1)],
    )
    assert _all_of([None, None]) == [(0, 0.5), (0.5, 1)]
    assert _all_of([]) == []


def test_a_model_without_ctc_says_so(model: Any) -> None:
    with pytest.raises(ConfigError, match="hears by CTC"):
        word_times(model, np.zeros(16000, np.float32), "ein Wort")
