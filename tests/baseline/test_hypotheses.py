"""The text of a decoding without language tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_part.baseline.hypotheses import main, strip_languages
from espnet_part.score.origin import read_decoding


def test_language_tokens_go_and_wrong_ones_are_named() -> None:
    languages = {"u1": "de", "u2": "en", "u3": "en", "u4": "de"}
    hypotheses = {
        "u1": "<de> guten Tag",
        "u2": "<de> guten Tag",
        "u3": "a < b> c",
        "u4": "<de>",
    }
    texts, wrong = strip_languages(hypotheses, languages, ["<de>", "<en>"])
    assert texts == {"u1": "guten Tag", "u2": "guten Tag", "u3": "a < b> c", "u4": ""}
    assert wrong == ["u2", "u3"]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "utt2tgt").write_text("a de\nb de\nc de\n")
    for job, lines in (("2", "a <de> eins\n"), ("1", "b <en> two\n")):
        output = tmp_path / f"decode/logdir/output.{job}/1best_recog"
        output.mkdir(parents=True)
        (output / "text").write_text(lines)
    (tmp_path / "languages.txt").write_text("<de>\n<en>\n")
    (tmp_path / "search.yaml").write_text("beam_size: 3\n")
    directories = {
        "decode_config": tmp_path / "search.yaml",
        "data_dir": tmp_path,
        "token_dir": tmp_path,
        "decode_dir": tmp_path / "decode",
    }
    main([word for name, path in directories.items() for word in (f"--{name}", str(path))])
    assert (tmp_path / "decode/text").read_text() == "a eins\nb two\n"
    printed = capsys.readouterr().out
    assert "2 of 3 utterances decoded" in printed
    assert "1 of them without the token" in printed
    options = read_decoding(tmp_path / "decode")[1]
    assert options["beam_size"] == 3
    assert options["language token"] == "given"
