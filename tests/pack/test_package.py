"""A packed model loads elsewhere and gives the same tokens; what cannot be packed is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from espnet_part.bin.part_pack import main as part_pack
from espnet_part.decode.speech2text import Speech2Text
from espnet_part.pack.card import Card
from espnet_part.pack.provenance import TrainingData
from espnet_part.pack.stored import find_model
from espnet_part.weights import read_header
from tests.pack.conftest import WEIGHTS, decode

ELSEWHERE = """
import json, sys
from espnet_part.decode.speech2text import Speech2Text
from tests.pack.conftest import decode
print(json.dumps(decode(Speech2Text.from_pretrained(sys.argv[1]))))
"""
ROOT = Path(__file__).parents[2]


def pack(recipe: Path, archive: Path, *more: str) -> Path:
    part_pack(["--model", str(recipe / "exp/part"), "--outpath", str(archive), *more])
    return archive


def refused(capsys: pytest.CaptureFixture[str], recipe: Path, archive: Path, *more: str) -> str:
    """Packing fails with one line, which is returned, and leaves nothing."""
    with pytest.raises(SystemExit) as stopped:
        pack(recipe, archive, *more)
    assert stopped.value.code == 1
    assert [path for path in archive.parent.iterdir() if path.suffix == ".zip"] == []
    (line,) = (x for x in capsys.readouterr().err.splitlines() if "error:" in x)
    return line


def text_members(archive: Path) -> dict[str, str]:
    with zipfile.ZipFile(archive) as file:
        return {name: file.read(name).decode(errors="replace") for name in file.namelist()}


def test_the_same_tokens_from_the_zip_where_the_recipe_is_gone(
    recipe: Path, tmp_path: Path, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(recipe, tmp_path / "out/tiny.zip", "--with_base_models", "true")
    shutil.rmtree(recipe.parent)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = Path(shutil.move(archive, "other name.zip"))
    assert decode(Speech2Text.from_pretrained(moved)) == expected
    assert decode(Speech2Text.from_pretrained("other name.zip", batch_size=2)) == expected
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(moved) as file:
        file.extractall(unpacked)
    assert decode(Speech2Text.from_pretrained(unpacked)) == expected
    assert decode(Speech2Text.from_pretrained(unpacked / "config.yaml")) == expected
    # by hand, as ESPnet's models are loaded
    by_hand = Speech2Text(unpacked / "config.yaml", unpacked / "model.safetensors")
    assert decode(by_hand) == expected


def test_the_same_tokens_in_another_process(
    packed: Path, tmp_path: Path, expected: list[list[int]]
) -> None:
    archive = shutil.copy(packed, tmp_path / "model.zip")
    out = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, archive],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
    )
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout) == expected


def test_the_same_tokens_through_the_model_zoo(
    packed: Path, tmp_path: Path, expected: list[list[int]]
) -> None:
    from espnet_model_zoo.downloader import ModelDownloader

    zoo = ModelDownloader(tmp_path / "zoo")
    for _ in range(2):
        files = zoo.download_and_unpack(str(packed))
        assert decode(Speech2Text(**files)) == expected
    assert decode(Speech2Text.from_pretrained(Path(files["part_train_config"]).parent)) == expected
    # of the hub it rewrites directories as well
    folder = tmp_path / "snapshot"
    with zipfile.ZipFile(packed) as file:
        file.extractall(folder)
    rewrite = next(
        getattr(ModelDownloader, f"_unpack_cache_dir_for_huggingf{end}")
        for end in ("ace", "ase")  # of today's zoo, and of older ones
        if hasattr(ModelDownloader, f"_unpack_cache_dir_for_huggingf{end}")
    )
    files = rewrite(str(folder))
    assert decode(Speech2Text(**files)) == expected


def test_a_second_load_does_not_unpack_again(
    packed: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find_model(packed)
    monkeypatch.setattr("espnet_part.pack.stored.unpack", lambda *_: pytest.fail("unpacks again"))
    assert find_model(packed) == first
    assert first.config.is_relative_to(cache)


def test_nothing_of_the_training_machine_is_in_the_archive(
    packed: Path, master: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with zipfile.ZipFile(packed) as file:
        for name in file.namelist():
            content = file.read(name)
            assert str(master).encode() not in content, name
            assert b"conf/llm" not in content and b"exp/part" not in content, name
    assert not caplog.records


def test_a_tokenizer_that_names_a_directory_is_told(
    recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = recipe / "conf/llm/tokenizer_config.json"
    values = {**json.loads(path.read_text()), "name_or_path": str(recipe.resolve() / "conf/llm")}
    path.write_text(json.dumps(values))
    pack(recipe, tmp_path / "tiny.zip", "--with_base_models", "true")
    assert f"tokenizer/tokenizer_config.json names the directory {recipe.resolve()}" in caplog.text


def test_the_members_of_an_archive(packed: Path) -> None:
    members = text_members(packed)
    assert next(iter(members)) == "meta.yaml"
    assert {name for name in members if "base_models" not in name and "tokenizer" not in name} == {
        *("meta.yaml", "README.md", "config.yaml", "prompts.yaml", "model.safetensors"),
        *("training/stage1.yaml", "training/stage2.yaml"),
    }
    assert {name for name in members if "base_models" in name} == {
        *("base_models/encoder/config.json", "base_models/encoder/model.safetensors"),
        *("base_models/llm/config.json", "base_models/llm/model.safetensors"),
        *("base_models/llm/generation_config.json", "base_models/llm/LICENSE"),
    }
    meta = yaml.safe_load(members["meta.yaml"])
    assert meta["files"] == {"part_model_file": "model.safetensors"}
    assert meta["yaml_files"] == {"part_train_config": "config.yaml"}
    assert {"torch", "python", "timestamp", "espnet"} <= meta.keys()
    stages = [yaml.safe_load(members[f"training/stage{n}.yaml"]) for n in (1, 2)]
    assert [s["phases"][0]["name"] for s in stages] == ["adapter", "joint"]


def test_the_same_input_gives_the_same_bytes(recipe: Path, tmp_path: Path) -> None:
    archives = []
    for place in "abcd":
        archive = tmp_path / place / "tiny.zip"
        archives.append(pack(recipe, archive, "--with_base_models", "true").read_bytes())
        (recipe / "conf/prompts.yaml").touch()
    assert len(set(archives)) == 1


def test_documents_come_along(recipe: Path, tmp_path: Path) -> None:
    (recipe / "exp/figures").mkdir()
    (recipe / "exp/figures/bleu.png").write_bytes(b"png")
    (recipe / "exp/figures/unused.png").write_bytes(b"png")
    (recipe / "exp/RESULTS.md").write_text("# RESULTS\n\n![bleu](figures/bleu.png)\n")
    test = recipe / "exp/part/decode_greedy/test"
    test.mkdir(parents=True)
    (test / "result.md").write_text("## Error rates (%)\n\n|de|\n|---|\n|12.3|\n")
    (recipe / "conf/score.yaml").write_text("normalizer: whisper\n")
    (recipe / "conf/decode.yaml").write_text("beam_size: 4\n")
    (recipe / "data/train/text_normalizer").write_text("nfkc\n")
    corpus: dict[str, object] = {
        "corpus": "Common Voice",
        "release": "cv-corpus-15.0",
        "split": "train",
    }
    corpus |= {"languages": {"de": {}}, "license": "CC0-1.0"}
    (recipe / "data/corpus.json").write_text(json.dumps([corpus]))
    archive = pack(
        recipe,
        tmp_path / "tiny.zip",
        *("--with_base_models", "true", "--results", str(recipe / "exp/RESULTS.md")),
        *("--result_dir", str(test.parent), "--score_config", str(recipe / "conf/score.yaml")),
        *("--decode_config", str(recipe / "conf/decode.yaml"), "--license", "cc-by-4.0"),
        *("--corpus_info", str(recipe / "data/corpus.json"), "--title", "My model"),
    )
    members = text_members(archive)
    assert members["figures/bleu.png"] == "png" and "figures/unused.png" not in members
    assert yaml.safe_load(members["score.yaml"]) == {"normalizer": "whisper"}
    assert yaml.safe_load(members["decode.yaml"]) == {"beam_size": 4}
    assert members["RESULTS.md"].startswith("# RESULTS")
    assert members["text_normalizer"] == "nfkc\n"
    card = members["README.md"]
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "cc-by-4.0" and head["language"] == ["de", "en"]
    assert head["library_name"] == "espnet" and "base_model" not in head
    for said in (
        "# My model",
        'from_pretrained("tiny.zip")',
        'speech2text(speech, task="asr", lang="de")',
        "|llm|llm|-|yes|apache-2.0|",
        "|encoder|encoder|-|yes|not stated|",
        "|2|joint|adapter, encoder, llm.lora|asr 1, s2tt 1, t2tt 1|2|",
        "|asr|de|de|3|0.00|",
        "|t2tt|en|de|3|-|",
        "Common Voice cv-corpus-15.0, train (de); licence: CC0-1.0",
        "### test\n\n#### Error rates",
        "|12.3|",
        "Of these weights: cc-by-4.0",
    ):
        assert said in card, said


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        # as part_score writes it: the card is the system's own, whose name is not repeated
        ("## part\n\n### WER\n\n|a|\n\n### CER\n", "#### WER\n\n|a|\n\n#### CER"),
        ("<!-- x -->\n### WER\n\n|a|\n", "#### WER\n\n|a|"),
        ("# A\n\n# B\n\n## C\n", "#### A\n\n#### B\n\n##### C"),
        ("|a|\n", "|a|"),
    ],
)
def test_headings_of_results_go_step_by_step(result: str, shown: str) -> None:
    card = Card("My model", "my.zip", [], TrainingData(), [], results={"test": result}).render()
    assert f"## Results\n\n### test\n\n{shown}\n\n## Licence" in card


def test_local_base_models_must_go_inside(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, recipe, tmp_path / "tiny.zip")
    assert "the encoder" in line and "conf/encoder" in line and "--with_base_models true" in line


@pytest.mark.parametrize("revision", [None, "main"])
def test_base_models_of_the_hub_are_named_with_their_commit(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    hub, commit = tmp_path / "hub", "0123456789" * 4
    for part in ("encoder", "llm"):  # as `hf download` leaves them
        repo = hub / f"models--owner--{part}"
        (repo / "refs").mkdir(parents=True)
        (repo / "refs/main").write_text(commit)
        shutil.move(recipe / "conf" / part, repo / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    path = recipe / "exp/part/stage2/config.yaml"
    values = yaml.safe_load(path.read_text())
    for part in ("encoder", "llm"):
        values[f"{part}_conf"] |= {"name": f"owner/{part}", "revision": revision}
    path.write_text(yaml.safe_dump(values))
    archive = pack(recipe, tmp_path / "tiny.zip")
    members = text_members(archive)
    assert not [name for name in members if "base_models" in name]
    config = yaml.safe_load(members["config.yaml"])
    for part in ("encoder", "llm"):
        named = {"name": f"owner/{part}", "revision": commit}
        assert named.items() <= config[f"{part}_conf"].items()
    assert f"|llm|owner/llm|{commit}|no|apache-2.0|" in members["README.md"]
    assert yaml.safe_load(members["README.md"].split("---\n")[1])["base_model"] == [
        *("owner/encoder", "owner/llm")
    ]


def test_weights_of_another_base_model_are_not_packed(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe / "conf/llm/config.json"
    path.write_text(path.read_text() + "\n")
    line = refused(capsys, recipe, tmp_path / "tiny.zip", "--with_base_models", "true")
    assert "was trained on another llm" in line


def test_random_base_models_that_were_not_all_trained_are_refused(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import dataclasses

    from safetensors.torch import load_file

    from espnet_part.model.base import describe_base
    from espnet_part.weights import write_weights

    config = recipe / "exp/part/stage2/config.yaml"
    values = yaml.safe_load(config.read_text())
    sizes = json.loads((recipe / "conf/llm/config.json").read_text())
    values["llm_conf"] = {"config": sizes, "tokenizer": "conf/llm", "dtype": "float32"}
    config.write_text(yaml.safe_dump(values))
    weights = recipe / "exp/part/stage2" / WEIGHTS
    header, _ = read_header(weights)
    header["base_models"][1] = dataclasses.asdict(describe_base("llm", None, None, sizes))
    write_weights(weights.resolve(), load_file(weights), header)
    line = refused(capsys, recipe, tmp_path / "tiny.zip", "--with_base_models", "true")
    assert "the llm has random weights" in line


@pytest.mark.parametrize("options", [(), ("--model", "x", "--part_train_config", "y")])
def test_wrong_calls_are_told(
    options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        part_pack([*options, "--outpath", str(tmp_path / "a.zip")])
    assert "either --model or --part_train_config" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        part_pack(["--model", str(tmp_path / "none"), "--outpath", str(tmp_path / "a.zip")])
    assert "neither a file nor a directory" in capsys.readouterr().err


def test_a_card_shows_how_to_ask_for_what_was_trained() -> None:
    counts = {("s2tt", "fr", "en"): 5, ("s2tt", "de", "en"): 7, ("t2tt", "it", "en"): 9}
    card = Card("My model", "my.zip", [], TrainingData(counts=counts), []).render()
    assert 'speech2text(speech, task="s2tt", lang="de", tgt="en")' in card
