"""COMET, run in an environment of its own: what is sent, what comes back, and refusals.

The program that stands in for COMET's environment here scores a segment by its length.
"""

import json
import sys

import pytest

from espnet_part.bin.part_score import main
from espnet_part.errors import ConfigError, DataError
from espnet_part.score import comet

STAND_IN = """#!{python}
import json, sys
_, _, checkpoint, given, found = sys.argv
samples = json.load(open(given))
assert all(set(sample) == {{"src", "mt", "ref"}} for sample in samples)
scores = [len(sample["mt"]) / 100 for sample in samples]
json.dump({{"scores": scores, "version": "2.2"}}, open(found, "w"))
"""


@pytest.fixture
def model(tmp_path):
    directory = tmp_path / "wmt22-comet-da"
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "model.ckpt").write_bytes(b"")
    (directory / "hparams.yaml").write_text("class_identifier: regression_metric\n")
    return directory


@pytest.fixture
def data(tmp_path):
    tables = {
        "text": ("the house", "two dogs", "das haus"),
        "hyp": ("the house!", "", "das haus ist"),
        "src_text": ("das haus", "zwei hunde", "the house"),
        "utt2task": ("s2tt",) * 3,
        "utt2lang": ("de", "de", "en"),
        "utt2tgt": ("en", "en", "de"),
    }
    for name, values in tables.items():
        lines = [f"u{number} {value}\n" for number, value in enumerate(values)]
        (tmp_path / name).write_text("".join(lines))
    return tmp_path


def _stand_in(tmp_path):
    path = tmp_path / "python"
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


def _score(data, model, python):
    command = ["--ref_dir", str(data), "--hyp_text", str(data / "hyp")]
    main([*command, "--comet_model", str(model), "--comet_python", python])
    return json.loads((data / "score.json").read_text())["comet"]


def test_figures_by_direction(data, model, capsys):
    content = _score(data, model, _stand_in(data))
    figures = {group["direction"]: group["comet"] for group in content["groups"]}
    assert figures == pytest.approx({"de-en": 5.0, "en-de": 12.0})  # an empty one counts as 0
    assert content["average"]["s2tt"]["comet"] == pytest.approx(8.5)
    assert content["groups"][0]["interval"] == {"low": 0.0, "high": 10.0}
    assert "|de-en|2|5.0|0.0–10.0|wmt22-comet-da|2.2|" in capsys.readouterr().out


def test_every_translation_needs_its_source(data, model):
    (data / "src_text").write_text("u0 das haus\n")
    with pytest.raises(SystemExit):
        _score(data, model, _stand_in(data))
    with pytest.raises(DataError, match="src_text has none of 1 utterances: u1"):
        group = type("Group", (), {"translations": 1, "utterances": ["u1"]})
        comet.score_comet({("s2tt", "de", "en"): group}, {}, model, "python", None)


def test_not_installed_says_what_to_install(data, model, capsys):
    with pytest.raises(SystemExit):
        _score(data, model, sys.executable)
    error = capsys.readouterr().err
    assert "part_score: error: COMET by" in error and "pip install unbabel-comet" in error


def test_no_such_model_or_python(model, tmp_path):
    with pytest.raises(ConfigError, match=r"nothing.*no such file; COMET needs a model"):
        comet.find_checkpoint(tmp_path / "nothing")
    (model / "hparams.yaml").unlink()
    with pytest.raises(ConfigError, match=r"hparams\.yaml: no such file"):
        comet.find_checkpoint(model)
    with pytest.raises(ConfigError, match="--comet_python /nowhere/python: No such file"):
        comet.run_comet([], model / "checkpoints/model.ckpt", "/nowhere/python")


def test_a_checkpoint_with_code_is_refused(model, tmp_path, monkeypatch):
    """With a module of COMET's name: the refusal comes before COMET sees the file."""
    import torch

    class Evil:
        def __reduce__(self):
            return print, ("code ran",)

    checkpoint = model / "checkpoints" / "model.ckpt"
    torch.save({"state_dict": Evil()}, checkpoint)
    (tmp_path / "comet.py").write_text("def load_from_checkpoint(*_, **__): 1 / 0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConfigError, match="refused, for loading it may run code"):
        comet.run_comet([], checkpoint, sys.executable)
