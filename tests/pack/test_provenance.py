"""What a training left on disk is gathered for the model card; what is gone is said."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml

from espnet_part.data.datadir import DataDir, Example
from espnet_part.errors import DataError
from espnet_part.pack.provenance import read_training_data, stages_of


def test_examples_are_counted_by_task_and_languages(tmp_path: Path) -> None:
    examples = [
        Example("ü-asr", "asr", "de", "de", "t", audio="a.wav", num_samples=16000 * 1800),
        Example("a-asr", "asr", "de", "de", "t", audio="a.wav", num_samples=16000 * 3600),
        Example("Z-s2tt", "s2tt", "de", "en", "t", audio="a.wav"),
        Example("a-t2tt", "t2tt", "zh", "en", "t", src_text="s"),
    ]
    DataDir.write(tmp_path / "one", examples)
    DataDir.write(tmp_path / "two", [Example("b-t2tt", "t2tt", "zh", "en", "t", src_text="s")])
    (tmp_path / "two/text_normalizer").write_text("nfkc\n")
    found = read_training_data({"train_data_dir": ["one", "two"]}, tmp_path)
    assert found.counts == {
        **{("asr", "de", "de"): 2, ("s2tt", "de", "en"): 1},
        ("t2tt", "zh", "en"): 2,
    }
    assert found.hours == {("asr", "de", "de"): 1.5}
    assert found.tasks == ["asr", "s2tt", "t2tt"] and found.languages == ["de", "en", "zh"]
    assert found.normalizer == "nfkc"


def test_data_that_are_gone_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read_training_data({"train_data_dir": "gone"}, tmp_path)
    assert not found.counts and "gone: is gone" in caplog.text


@pytest.mark.parametrize("content", ["{", "{}", "[1]"])
def test_a_wrong_corpus_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "corpus.json").write_text(content)
    with pytest.raises(DataError, match=r"corpus\.json"):
        read_training_data({}, tmp_path, [tmp_path / "corpus.json"])


def test_stages_are_followed_back_as_far_as_they_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "exp/stage2").mkdir(parents=True)
    second = {"seed": 2, "part_init": "exp/stage1/best.safetensors", "output_dir": "/secret"}
    (tmp_path / "exp/stage2/config.yaml").write_text(yaml.safe_dump(second))
    third = {"seed": 3, "part_init": "exp/stage2/best.safetensors"}
    assert stages_of(third, tmp_path) == [{"seed": 2}, {"seed": 3}]
    assert "stage1/config.yaml: is gone" in caplog.text
