from __future__ import annotations

import json

import pytest

from espnet_part.bin.part_collect_stats import main
from espnet_part.data.datadir import DataDir
from espnet_part.data.tokens import read_token_counts
from tests.data.conftest import make_examples, write_model


@pytest.fixture
def options(tmp_path):
    DataDir.write(tmp_path / "data", make_examples(tmp_path / "audio"))
    write_model(tmp_path)
    return {
        "--data_dir": str(tmp_path / "data"),
        "--model_config": str(tmp_path / "model.yaml"),
        "--out_dir": str(tmp_path / "stats"),
    }


def run(options):
    main([word for option in options.items() for word in option])


def test_counts_and_tables(options, tmp_path, capsys):
    run(options)
    counts = read_token_counts(tmp_path / "stats" / "text_tokens")
    examples, _ = DataDir.load(tmp_path / "data")
    assert counts.keys() == {e.utt_id for e in examples}
    table = json.loads((tmp_path / "stats" / "mixture.json").read_text())
    total = table[-1]
    assert total["utterances"] == len(examples)
    assert total["answer_tokens"] == sum(answer for _, answer in counts.values())
    assert total["prompt_tokens"] == sum(prompt for prompt, _ in counts.values())
    parts = [line for line in table if line["lang"]]
    assert sum(line["utterances"] for line in parts) == len(examples)
    markdown = (tmp_path / "stats" / "mixture.md").read_text()
    assert capsys.readouterr().out == markdown
    assert "| s2tt | es | en | 2 |" in markdown
    assert len(markdown.splitlines()) == 2 + len(table)


def test_model_without_prompts(options, tmp_path, capsys):
    path = tmp_path / "model.yaml"
    path.write_text(path.read_text().replace("prompts: conf/prompts.yaml", ""))
    with pytest.raises(SystemExit):
        run(options)
    assert "the key `prompts` is missing" in capsys.readouterr().err


def test_unknown_key_of_the_model_file(options, tmp_path, capsys):
    path = tmp_path / "model.yaml"
    path.write_text(path.read_text() + "lora_konf: {}\n")
    with pytest.raises(SystemExit):
        run(options)
    assert "unknown key `lora_konf`; did you mean `lora_conf`?" in capsys.readouterr().err


def test_faulty_data(options, tmp_path, capsys):
    (tmp_path / "data" / "text").unlink()
    with pytest.raises(SystemExit):
        run(options)
    assert "missing file" in capsys.readouterr().err
