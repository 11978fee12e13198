"""Finding a model: in an archive, a directory, an experiment, on the hub; what is refused."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from espnet_part.decode.speech2text import Speech2Text
from espnet_part.errors import ConfigError, DataError
from espnet_part.pack.locations import load_run_config
from espnet_part.pack.stored import find_model
from tests.pack.conftest import WEIGHTS, decode


def changed(packed: Path, target: Path, change: Callable[[dict[Any, bytes]], object]) -> Path:
    """The packed model with members changed (name -> bytes, or ZipInfo -> bytes), and no manifest."""
    with zipfile.ZipFile(packed) as file:
        members: dict[Any, bytes] = {name: file.read(name) for name in file.namelist()}
    meta = yaml.safe_load(members["meta.yaml"])
    assert meta.pop("sha256")
    members["meta.yaml"] = yaml.safe_dump(meta).encode()
    change(members)
    with zipfile.ZipFile(target, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return target


def edited(members: dict[Any, bytes], name: str, **values: Any) -> None:
    members[name] = yaml.safe_dump({**yaml.safe_load(members[name]), **values}).encode()


def test_an_experiment_is_its_last_stage(
    master: Path, tmp_path: Path, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # nothing is relative to where one stands
    last = master / "exp/part/stage2"
    for given in (master / "exp/part", last, last / "config.yaml"):
        assert find_model(given).weights == last / WEIGHTS
        assert decode(Speech2Text.from_pretrained(given)) == expected
    first = find_model(master / "exp/part/stage1")
    assert first.config == master / "exp/part/stage1/config.yaml"


def test_other_prompts_where_one_stands_are_not_taken(
    master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/prompts.yaml").write_text("asr: {en: ['{speech}']}")
    monkeypatch.chdir(tmp_path)
    values = load_run_config(master / "exp/part/stage2/config.yaml")
    assert values["prompts"] == str(master / "conf/prompts.yaml")
    assert values["encoder_conf"]["name"] == str(master / "conf/encoder")


def test_a_run_is_loaded_where_it_was_trained(
    master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(master)
    values = load_run_config("exp/part/stage2/config.yaml")
    assert values["prompts"] == "conf/prompts.yaml"


def test_weights_can_be_chosen(master: Path, expected: list[list[int]]) -> None:
    run = master / "exp/part/stage2"
    other = Speech2Text.from_pretrained(run, part_model_file=run / "latest.safetensors")
    # the averaged file alone was changed after the training
    assert (run / "latest.safetensors").resolve() != (run / WEIGHTS).resolve()
    assert decode(other) != expected


def test_which_weights_must_be_clear(recipe: Path) -> None:
    run = recipe / "exp/part/stage2"
    (run / WEIGHTS).rename(run / "valid.loss.ave.safetensors")
    assert find_model(run).weights.name == "valid.loss.ave.safetensors"
    shutil.copy(run / "valid.loss.ave.safetensors", run / "valid.bleu.ave.safetensors")
    with pytest.raises(DataError, match=r"which weights\? .*valid.bleu.ave.*valid.loss.ave"):
        find_model(run)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_an_archive_that_reaches_out_is_refused(
    packed: Path, tmp_path: Path, cache: Path, name: str
) -> None:
    archive = changed(packed, tmp_path / "a.zip", lambda members: members.update({name: b"evil"}))
    with pytest.raises(DataError, match="evil"):
        Speech2Text.from_pretrained(archive)
    assert not list(tmp_path.rglob("evil")) and not list((cache / "models").glob("*/*"))


def test_an_archive_with_a_link_that_leads_out_is_refused(packed: Path, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("notes.txt")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = changed(packed, tmp_path / "a.zip", lambda members: members.update({info: b"/etc"}))
    with pytest.raises(DataError, match=r"notes\.txt"):
        Speech2Text.from_pretrained(archive)


@pytest.mark.parametrize(
    "name",
    [
        "model.pth",
        "base_models/llm/pytorch_model.bin",
        "run.py",
        "base_models/llm/adapter_config.json",
    ],
)
def test_an_archive_that_could_bring_code_is_refused(
    packed: Path, tmp_path: Path, name: str
) -> None:
    archive = changed(packed, tmp_path / "a.zip", lambda members: members.update({name: b"x"}))
    with pytest.raises(DataError, match=f"holds {name}"):
        Speech2Text.from_pretrained(archive)


def test_pickled_weights_under_another_name_are_refused(packed: Path, tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    content = (tmp_path / "evil.pth").read_bytes()
    base = "base_models/{}/model.safetensors"
    for name in ("model.safetensors", base.format("llm"), base.format("encoder")):

        def change(members: dict[Any, bytes], name: str = name) -> None:
            members[name] = content

        archive = changed(packed, tmp_path / "a.zip", change)
        with pytest.raises((ConfigError, DataError)):
            Speech2Text.from_pretrained(archive)
        assert not marker.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prompts", "/etc/passwd"),
        ("prompts", "./../prompts.yaml"),
        ("prompts", "prompts.yaml"),
        ("encoder_conf", {"name": "/etc"}),
        ("llm_conf", {"name": "./../../llm"}),
        ("llm_conf", {"name": "owner/../llm"}),
    ],
)
def test_a_configuration_that_names_files_outside_is_refused(
    packed: Path, tmp_path: Path, key: str, value: Any
) -> None:
    archive = changed(
        packed, tmp_path / "a.zip", lambda members: edited(members, "config.yaml", **{key: value})
    )
    with pytest.raises(DataError, match="outside the packed model"):
        Speech2Text.from_pretrained(archive)


def test_a_configuration_cannot_say_that_it_is_no_packed_one(packed: Path, tmp_path: Path) -> None:
    def change(members: dict[Any, bytes]) -> None:
        values = yaml.safe_load(members["config.yaml"])
        del values["packed_by"]
        members["config.yaml"] = yaml.safe_dump({**values, "encoder_conf": {"name": "/e"}}).encode()

    with pytest.raises(DataError, match="'/e', which is outside the packed model"):
        Speech2Text.from_pretrained(changed(packed, tmp_path / "a.zip", change))
    archive = changed(packed, tmp_path / "a.zip", lambda members: members.pop("meta.yaml"))
    with pytest.raises(DataError, match=r"meta\.yaml is missing"):
        Speech2Text.from_pretrained(archive)

    def hide(members: dict[Any, bytes]) -> None:
        change(members)
        members["sub/config.yaml"] = members["config.yaml"]
        edited(members, "meta.yaml", yaml_files={"part_train_config": "sub/config.yaml"})

    archive = changed(packed, tmp_path / "a.zip", hide)
    with pytest.raises(DataError, match="'/e', which is outside the packed model"):
        Speech2Text.from_pretrained(archive)
    # as ESPnet's model zoo unpacks it
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "zoo")
    with pytest.raises(DataError, match="'/e', which is outside the packed model"):
        Speech2Text(tmp_path / "zoo/sub/config.yaml")


@pytest.mark.parametrize(
    ("part", "kind"),
    [("encoder", "wav2vec2"), ("frontend", "s3prl"), ("frontend", "espnet_ssl"), ("encoder", [1])],
)
def test_encoders_that_load_what_they_like_are_refused(
    packed: Path, tmp_path: Path, part: str, kind: Any
) -> None:
    """ESPnet's wrappers of fairseq and s3prl unpickle what their settings name."""

    def change(members: dict[Any, bytes]) -> None:
        conf = {"train_config": "./base_models/encoder/config.yaml", "model_file": "./x"}
        edited(members, "config.yaml", encoder="espnet", encoder_conf=conf)
        values = {"encoder": "conformer", part: kind, f"{part}_conf": {"w2v_url": "https://evil"}}
        members["base_models/encoder/config.yaml"] = yaml.safe_dump(values).encode()

    archive = changed(packed, tmp_path / "a.zip", change)
    with pytest.raises(DataError, match="cannot be in a packed model"):
        Speech2Text.from_pretrained(archive)


def test_an_attention_of_the_hub_is_refused(packed: Path, tmp_path: Path) -> None:
    """In place of an implementation transformers takes the name of a compiled kernel."""

    def change(members: dict[Any, bytes]) -> None:
        llm = yaml.safe_load(members["config.yaml"])["llm_conf"]
        edited(members, "config.yaml", llm_conf={**llm, "attention": "evil/kernel"})

    archive = changed(packed, tmp_path / "a.zip", change)
    with pytest.raises(DataError, match="'evil/kernel' is none of eager"):
        Speech2Text.from_pretrained(archive)


def test_stages_are_counted_as_numbers(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        stage = tmp_path / f"stage{number}"
        stage.mkdir()
        (stage / "config.yaml").write_text("{}\n")
        (stage / WEIGHTS).write_bytes(b"")
    assert find_model(tmp_path).config == tmp_path / "stage10/config.yaml"


def test_a_meta_file_that_names_files_outside_is_refused(packed: Path, tmp_path: Path) -> None:
    for value in ({"part_model_file": "../x.safetensors"}, {"part_model_file": "/x.safetensors"}):

        def change(members: dict[Any, bytes], value: dict[str, str] = value) -> None:
            edited(members, "meta.yaml", files=value)

        archive = changed(packed, tmp_path / "a.zip", change)
        with pytest.raises(DataError, match="outside the packed model"):
            find_model(archive)
    archive = changed(packed, tmp_path / "a.zip", lambda m: edited(m, "meta.yaml", files={}))
    with pytest.raises(DataError, match="not of this package"):
        find_model(archive)
    archive = changed(packed, tmp_path / "a.zip", lambda m: m.pop("model.safetensors"))
    with pytest.raises(DataError, match=r"names model.safetensors, which is missing"):
        find_model(archive)


def test_weights_of_another_base_model_are_refused(packed: Path, tmp_path: Path) -> None:
    def change(members: dict[Any, bytes]) -> None:
        content = bytearray(members["base_models/llm/model.safetensors"])
        content[-1] ^= 1
        members["base_models/llm/model.safetensors"] = bytes(content)

    archive = changed(packed, tmp_path / "a.zip", change)
    with pytest.raises(DataError, match="was trained on another llm"):
        Speech2Text.from_pretrained(archive)


def test_a_base_model_that_is_missing_is_not_asked_of_the_hub(packed: Path, tmp_path: Path) -> None:
    archive = changed(packed, tmp_path / "a.zip", lambda m: m.pop("base_models/llm/config.json"))
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        Speech2Text.from_pretrained(archive)


def test_a_model_of_the_hub(
    packed: Path, tmp_path: Path, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(packed) as file:
        file.extractall(tmp_path / "snapshot")
    asked = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append((name, options["revision"]))
        assert "*.safetensors" in options["allow_patterns"]
        assert not {"*.bin", "*.py", "*.zip", "*"} & set(options["allow_patterns"])
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert decode(Speech2Text.from_pretrained("owner/name", revision="v1")) == expected
    find_model("owner/name@v2")
    assert asked == [("owner/name", "v1"), ("owner/name", "v2")]


def test_a_model_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="nobody/nothing: no file or directory, and no model"):
        Speech2Text.from_pretrained("nobody/nothing")
    with pytest.raises(DataError, match="neither a file nor a directory"):
        Speech2Text.from_pretrained("/nothing/here.zip")


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no model: neither meta\.yaml"):
        find_model(tmp_path)
