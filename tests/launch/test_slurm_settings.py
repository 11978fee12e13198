"""What a cluster wants to know: which file counts, and what is wrong in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_part.errors import ConfigError
from espnet_part.launch.slurm_settings import JobSettings, load_settings

EXAMPLE = Path(__file__).parents[2] / "conf/slurm.yaml"


@pytest.fixture(autouse=True)
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty recipe's directory, and a user without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "conf").mkdir()
    (tmp_path / "config/espnet_part").mkdir(parents=True)
    return tmp_path


def test_the_nearest_file_and_the_kind_of_job_count(recipe: Path) -> None:
    (recipe / "conf/slurm.yaml").write_text("all: {partition: shared, account: x, time: '1:00'}")
    (recipe / "config/espnet_part/slurm.yaml").write_text(
        "all: {partition: mine}\ntrain: {gres: 'gpu:a100', qos: long}"
    )
    (recipe / "conf/slurm.local.yaml").write_text("train: {qos: null, sbatch: [--exclusive]}")
    train = load_settings("train")
    assert train.options() == ["--partition=mine", "--account=x", "--time=1:00", "--exclusive"]
    assert train.gres == "gpu:a100"
    assert load_settings("cpu").options() == ["--partition=mine", "--account=x", "--time=1:00"]


def test_nothing_is_needed() -> None:
    assert load_settings("decode") == JobSettings()


def test_the_example_holds_what_it_says(recipe: Path) -> None:
    shown = EXAMPLE.read_text()
    (recipe / "conf/slurm.yaml").write_text(shown)
    assert load_settings("train") == JobSettings()  # all of it is a comment
    lines = shown.splitlines()
    begin = lines.index("# all:")
    (recipe / "conf/slurm.local.yaml").write_text("\n".join(line[2:] for line in lines[begin:]))
    assert load_settings("train").options(gpus=8) == [
        *("--partition=gpu", "--account=speech", "--time=2-00:00:00", "--mem=400G"),
        "--comment=speech",
    ]
    assert load_settings("cpu").mem_per_cpu == "4G"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("all: {partitoin: x}", "conf/slurm.local.yaml: all: unknown key `partitoin`"),
        ("gpu: {}", "conf/slurm.local.yaml: "),
        ("train: [a]", "conf/slurm.local.yaml: train: must be a mapping of keys"),
        ("decode: {time: 4:00:00}", "decode: time: YAML reads this as the number 14400: put it in"),
        ("decode: {setup: module load x}", "conf/slurm.local.yaml: decode: setup"),
        ("train: {mem_per_gpu: 50 GB}", "conf/slurm.local.yaml: train: mem_per_gpu"),
        ("[]", "must be a mapping"),
    ],
)
def test_a_mistake_is_named_whatever_the_kind(recipe: Path, text: str, said: str) -> None:
    (recipe / "conf/slurm.local.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"slurm\.local\.yaml") as error:
        load_settings("cpu")
    assert said in str(error.value)
