"""Exported parts load in transformers; the merged model gives the unmerged one's tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from espnet_part.bin.part_export import main as part_export
from espnet_part.decode.speech2text import Speech2Text
from tests.pack.conftest import WEIGHTS, decode


@pytest.fixture(scope="module")
def exported(master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    run = master / "exp/part/stage2"
    part_export(
        [
            *("--part_train_config", str(run / "config.yaml"), "--out", str(out)),
            *("--part_model_file", str(run / WEIGHTS), "--merge_lora", "true"),
        ]
    )
    return out


def test_merged_gives_the_tokens_of_unmerged(exported: Path, expected: list[list[int]]) -> None:
    merged = Speech2Text.from_pretrained(exported)
    assert decode(merged) == expected
    assert not [name for name, _ in merged.model.named_parameters() if ".lora_" in name]
    by_hand = Speech2Text(exported / "config.yaml", exported / "adapter/adapter.safetensors")
    assert decode(by_hand) == expected


def test_lora_makes_a_difference_here(
    master: Path, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests above would say nothing of a LoRA that changes no token."""
    monkeypatch.setattr("espnet_part.model.lora.merge_lora", lambda *_: 0)
    model = Speech2Text.from_pretrained(master / "exp/part")
    with torch.no_grad():
        for name, parameter in model.model.named_parameters():
            if ".lora_B" in name:
                parameter.zero_()
    assert decode(model) != expected


def test_transformers_loads_the_parts(exported: Path, master: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    own = Speech2Text.from_pretrained(master / "exp/part")
    loaded: Any = AutoModelForCausalLM.from_pretrained(exported / "llm", output_loading_info=True)
    llm, info = loaded
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids = torch.arange(12)[None]
    with torch.no_grad():
        torch.testing.assert_close(llm(ids).logits, own.model.llm.model(ids).logits)
    tokenizer = AutoTokenizer.from_pretrained(exported / "llm")
    assert tokenizer("der hund")["input_ids"] == own.tokenizer("der hund")["input_ids"]
    loaded = WhisperEncoder.from_pretrained(exported / "encoder", output_loading_info=True)
    encoder, info = loaded
    assert not info["missing_keys"] and not info["unexpected_keys"]
    state = own.model.encoder.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in encoder.state_dict().items())
    adapter = load_file(exported / "adapter/adapter.safetensors")
    assert {name.removeprefix("adapter.") for name in adapter} == set(
        own.model.adapter.state_dict()
    )
    sizes = yaml.safe_load((exported / "adapter/adapter.yaml").read_text())
    assert sizes["speech_adapter"] == "linear" and sizes["llm_dim"] == 16


def test_the_end_tokens_stay(exported: Path, master: Path) -> None:
    before = Speech2Text.from_pretrained(master / "exp/part").model.end_token_ids
    assert Speech2Text.from_pretrained(exported).model.end_token_ids == before


def test_without_merging_lora_stays_beside_the_adapter(
    master: Path, tmp_path: Path, expected: list[list[int]]
) -> None:
    out = tmp_path / "out"
    part_export(["--model", str(master / "exp/part"), "--out", str(out), "--merge_lora", "false"])
    assert decode(Speech2Text.from_pretrained(out)) == expected
    base = load_file(master / "conf/llm/model.safetensors")
    saved = load_file(out / "llm/model.safetensors")
    assert base.keys() == saved.keys()
    assert all(torch.equal(base[name], saved[name]) for name in base)


def test_a_packed_model_is_exported_in_another_dtype(packed: Path, tmp_path: Path) -> None:
    """Merged in float32 and rounded once: each weight is the float32 sum's nearest bfloat16."""
    for name in ("bfloat16", "float32"):
        part_export(["--model", str(packed), "--out", str(tmp_path / name), "--dtype", name])
    exact, rounded = (
        load_file(tmp_path / name / "llm/model.safetensors") for name in ("float32", "bfloat16")
    )
    for key, tensor in rounded.items():
        assert torch.equal(tensor, exact[key].to(torch.bfloat16)), key
    decode(Speech2Text.from_pretrained(tmp_path / "bfloat16", dtype="bfloat16"))


def test_a_directory_with_content_is_left_alone(
    master: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(SystemExit):
        part_export(["--model", str(master / "exp/part"), "--out", str(tmp_path)])
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_failed_export_leaves_nothing(
    master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("espnet_part.pack.export._save_llm", full)
    with pytest.raises(SystemExit):
        part_export(["--model", str(master / "exp/part"), "--out", str(tmp_path / "out")])
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]
