"""Token counts that were made split by split belong to the examples that are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from espnet_part.data import counting
from espnet_part.data.splits import all_splits
from espnet_part.errors import DataError
from espnet_part.model.config import ModelConfig
from tests.train.tiny import make_data, model_config


@pytest.mark.parametrize("more", [-1, 1])
def test_tables_that_change_in_between_are_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    data = make_data(tmp_path / "data", 2, seed=1)
    model = ModelConfig.from_mapping(model_config(tmp_path), "model.yaml")

    class Changed(counting.Counting):
        def __call__(self, directory: Path, job: int, nj: int) -> None:
            np.save(directory / "counts.npy", np.ones((2, 12 + more), dtype=np.int64))

    monkeypatch.setattr(counting, "Counting", Changed)
    monkeypatch.setattr(counting, "all_splits", lambda work, out, nj: all_splits(work, out, 1))
    said = f"{data}: its tables have changed while their tokens were counted"
    with pytest.raises(DataError, match=said):
        counting.collect([data], model.llm_conf, str(model.prompts), tmp_path / "out", 0.0, nj=2)
    assert not (tmp_path / "out/text_tokens").exists()
