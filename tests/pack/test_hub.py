"""Uploading: what the hub is asked, with its client replaced."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from espnet_part.bin.part_pack import main as part_pack
from espnet_part.errors import ConfigError, DataError
from espnet_part.pack.hub import upload


class Api:
    """What of HfApi is used; notes its calls."""

    calls: list[tuple[str, Any]] = []  # noqa: RUF012 (one list for the test)

    def __init__(self, token: str | None = None):
        self.calls.append(("token", token))

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.calls.append(("create", (repo_id, options)))

    def upload_folder(self, *, repo_id: str, folder_path: Path, **options: Any) -> Any:
        files = {str(p.relative_to(folder_path)) for p in folder_path.rglob("*") if p.is_file()}
        card = (folder_path / "README.md").read_text()
        self.calls.append(("upload", (repo_id, files, card)))
        return SimpleNamespace(commit_url=f"https://huggingface.co/{repo_id}/commit/1")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> type[Api]:
    monkeypatch.setattr(Api, "calls", [])
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "a token")
    return Api


def test_the_files_are_uploaded_as_they_are_in_the_archive(
    master: Path, tmp_path: Path, api: type[Api], capsys: pytest.CaptureFixture[str]
) -> None:
    part_pack(
        [
            *("--model", str(master / "exp/part"), "--outpath", str(tmp_path / "tiny.zip")),
            *("--with_base_models", "true", "--hf_repo", "owner/name", "--hf_private", "true"),
        ]
    )
    assert "uploaded: https://huggingface.co/owner/name/commit/1" in capsys.readouterr().out
    (_, token), (_, created), (_, (repo, files, card)) = api.calls
    assert token == "a token" and repo == "owner/name"
    assert created == ("owner/name", {"private": True, "exist_ok": True})
    assert {"meta.yaml", "config.yaml", "model.safetensors", "base_models/llm/config.json"} <= files
    assert 'Speech2Text.from_pretrained("owner/name")' in card
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["tiny.zip"]


def test_without_a_token_nothing_is_uploaded_and_it_is_said(
    packed: Path, api: type[Api], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert upload(packed, "owner/name") is None
    assert api.calls == []
    assert "not uploaded to owner/name: there is no token" in caplog.text


@pytest.mark.parametrize("repo", ["name", "a/b/c", "owner/na me"])
def test_a_wrong_name_is_refused(packed: Path, api: type[Api], repo: str) -> None:
    with pytest.raises(ConfigError, match="hf_repo"):
        upload(packed, repo)
    assert api.calls == []


def test_what_the_hub_says_is_one_line(
    packed: Path, api: type[Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise OSError("403 Forbidden\nmore of it")

    monkeypatch.setattr(api, "create_repo", refuse)
    with pytest.raises(DataError, match=r"^owner/name: the hub refused the upload: 403 Forbidden$"):
        upload(packed, "owner/name")
