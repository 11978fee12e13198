"""The benchmark of scoring makes directories that part_score takes."""

import json
import runpy
from pathlib import Path

import pytest

from espnet_part.bin.part_score import main

BENCH = Path(__file__).parents[2] / "tools" / "bench" / "scoring.py"


@pytest.mark.parametrize(("task", "measure"), [("asr", "wer"), ("s2tt", "bleu")])
def test_data_can_be_scored(tmp_path, task, measure):
    runpy.run_path(str(BENCH))["write_data"](tmp_path, task, 60)
    main(["--ref_dir", str(tmp_path), "--hyp_text", str(tmp_path / "hyp")])
    scores = json.loads((tmp_path / "score.json").read_text(encoding="utf-8"))
    assert scores["utterances"] == 60 and not scores["missing"]
    low, high = (5, 25) if task == "asr" else (20, 80)
    assert len(scores[measure]) == 6
    assert low < scores["average"][task][measure] < high


def test_simulated_systems_err_as_often_as_said():
    import numpy as np

    simulate = runpy.run_path(str(BENCH))["simulate"]
    counts = simulate(np.random.default_rng(0), 20_000, 2)
    rates = counts[:, :, 2].sum(axis=1) / counts[:, :, 0].sum(axis=1)
    assert rates == pytest.approx([0.1, 0.1], abs=0.005)
