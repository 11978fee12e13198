"""Keys: the same where the result is, another where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from espnet_part.data.formatting import format_directory
from espnet_part.errors import ConfigError, DataError
from espnet_part.recipe import keys

STAGE = {
    "batch_bins": 80000,
    "accum_grad": 2,
    "optim_conf": {"lr": 1e-4},
    "phases": [{"name": "p"}],
}


def training(tmp_path: Path, *words: str, **changes: object) -> str:
    path = tmp_path / "stage1.yaml"
    path.write_text(yaml.safe_dump({**STAGE, **changes}))
    return keys.training_digest(str(path), words)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (["--num_workers", "9", "--log_interval=5"], {}),
        (["--max-bins-per-gpu", "5000", "--use_wandb", "true"], {}),
        (["--parallel", "fsdp2"], {}),
        ([], {"max_bins_per_gpu": 100, "save_interval": 7, "num_workers": 3}),
        ([], {"save_minutes": 10, "keep_checkpoints": 5, "keep_checkpoint_hours": 6}),
        # one step, split otherwise
        (["--batch_bins", "10000", "--accum_grad", "16"], {}),
        (["--batch_bins", "160000", "--accum_grad", "1"], {}),
        ([], {"batch_bins": 20000, "accum_grad": 8}),
    ],
)
def test_what_does_not_change_a_training(
    tmp_path: Path, words: list[str], changes: dict[str, object]
) -> None:
    assert training(tmp_path, *words, **changes) == training(tmp_path)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (["--optim_conf", "lr=1e-3"], {}),
        (["--batch_bins", "10000"], {}),
        (["--accum_grad", "4"], {}),
        (["--max_llm_length", "100"], {}),
        ([], {"optim_conf": {"lr": 1e-3}}),
        ([], {"phases": [{"name": "q"}]}),
        ([], {"keep_nbest_models": 1}),
    ],
)
def test_what_changes_a_training(
    tmp_path: Path, words: list[str], changes: dict[str, object]
) -> None:
    assert training(tmp_path, *words, **changes) != training(tmp_path)


@pytest.mark.parametrize("value", ["[", "9" * 5000, "!!python/name:os.system"])
def test_a_size_that_cannot_be_read_is_named(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r"^--part_args: --batch_bins: not valid YAML"):
        training(tmp_path, "--batch_bins", value)


def test_a_base_is_part_of_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("optim: adamw\n")
    (tmp_path / "stage.yaml").write_text("base: base.yaml\n")
    before = keys.training_digest(str(tmp_path / "stage.yaml"), [])
    (tmp_path / "base.yaml").write_text("optim: sgd\n")
    assert keys.training_digest(str(tmp_path / "stage.yaml"), []) != before


def test_decoding(tmp_path: Path) -> None:
    config = tmp_path / "decode.yaml"
    config.write_text("beam_size: 4\nbatch_size: 8\n")
    first = keys.decoding_digest(str(config), ["--num_threads", "2"], keys.NEUTRAL_DECODING)
    config.write_text("batch_size: 2\nbatch_bins: 900\nbeam_size: 4\n")
    assert keys.decoding_digest(str(config), [], keys.NEUTRAL_DECODING) == first
    assert (
        keys.decoding_digest(str(config), ["--dtype", "bfloat16"], keys.NEUTRAL_DECODING) != first
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    (directory / "audio").mkdir(parents=True)
    for n in range(3):
        (directory / f"audio/{n}.wav").write_bytes(bytes([n]) * 100)
    scp = "".join(f"u{n} {directory}/audio/{n}.wav\n" for n in range(3))
    (directory / "wav.scp").write_text(scp)
    (directory / "text").write_text("u0 a\nu1 b\nu2 c\n")
    return directory


def test_data_are_their_content_wherever_they_lie(data: Path, tmp_path: Path) -> None:
    before = keys.data_digest(data)
    moved = tmp_path / "elsewhere"
    shutil.copytree(data, moved)
    scp = (moved / "wav.scp").read_text().replace(str(data), str(moved))
    (moved / "wav.scp").write_text(scp)
    (moved / ".journal").write_text("of this run")
    (moved / "logs").mkdir()
    assert keys.data_digest(moved) == before


def test_data_that_differ(data: Path) -> None:
    digests = [keys.data_digest(data)]
    (data / "audio/1.wav").write_bytes(b"another voice" * 8)
    digests.append(keys.data_digest(data))
    (data / "text").write_text("u0 a\nu1 b\nu2 d\n")
    digests.append(keys.data_digest(data))
    (data / "utt2lang").write_text("u0 de\n")
    digests.append(keys.data_digest(data))
    assert len(set(digests)) == 4


def test_audio_in_an_archive_and_audio_that_is_missing(data: Path) -> None:
    ark = data / "audio.ark"
    entry = b"x" * 10 + b"RIFF" + (32).to_bytes(4, "little")
    ark.write_bytes(entry + b"x" * 32)
    (data / "wav.scp").write_text(f"u0 {ark}:10\nu1 {ark}:{'9' * 30}\nu2 nowhere.wav\n")
    before = keys.data_digest(data)
    ark.write_bytes(entry + b"y" * 32)
    assert keys.data_digest(data) != before


def test_audio_of_a_name_that_no_file_can_have(data: Path, tmp_path: Path) -> None:
    """A command, say; the stage that reads the audio names it and leaves it out."""
    names = {"u0": f"sph2pipe {'x' * 300} |", "u1": "a\0b:12", "u2": "a\0b", "u3": "x" * 5000}
    (data / "wav.scp").write_text("".join(f"{utt} {name}\n" for utt, name in names.items()))
    assert keys.data_digest(data)
    for table, value in (("utt2task", "asr"), ("utt2lang", "de"), ("text", "ja")):
        (data / table).write_text("".join(f"{utt} {value}\n" for utt in names))
    with pytest.raises(DataError, match="4 of 4 utterances are unusable"):
        format_directory(data, tmp_path / "out")
    named = (tmp_path / "out/bad_audio.tsv").read_text().splitlines()
    assert sorted(line.partition("\t")[0] for line in named) == sorted(names)


def test_a_model_is_its_bases_and_prompts(tmp_path: Path) -> None:
    prompts, model = tmp_path / "prompts.yaml", tmp_path / "model.yaml"
    prompts.write_text("asr: {en: ['{speech}']}\n")
    values = {"llm_conf": {"name": "exp/llm"}, "prompts": str(prompts)}
    model.write_text(yaml.safe_dump(values))
    first = keys.model_digest(str(model), {"exp/llm": "1"})
    assert keys.model_digest(str(model), {"exp/llm": "2"}) != first
    values["llm_conf"] = {"name": "moved/llm", "gradient_checkpointing": True}
    model.write_text(yaml.safe_dump(values))
    assert keys.model_digest(str(model), {"moved/llm": "1"}) == first
    prompts.write_text("asr: {en: ['{speech}!']}\n")
    assert keys.model_digest(str(model), {"moved/llm": "1"}) != first
