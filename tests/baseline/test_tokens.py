"""The vocabulary that the stock ASR and ST models share."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece

from espnet_part.baseline.tokens import frequent_characters, main, train
from espnet_part.errors import ConfigError, DataError


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def texts(tmp_path: Path) -> list[Path]:
    one = write(
        tmp_path / "one", "u1 <de> schöne alte Bäume", "u2 <en> old trees, old houses ½ ， Ａ"
    )
    return [one, write(tmp_path / "two", "u3 <es> árboles viejos y casas viejas")]


def test_the_list_is_espnets(tmp_path: Path, texts: list[Path]) -> None:
    tokens = train(texts, 50, 1.0, tmp_path / "out")
    assert tokens == (tmp_path / "out/tokens.txt").read_text(encoding="utf-8").splitlines()
    assert tokens[:2] == ["<blank>", "<unk>"]
    assert tokens[-1] == "<sos/eos>"
    assert len(set(tokens)) == len(tokens)
    assert "<s>" not in tokens
    assert (tmp_path / "out/languages.txt").read_text() == "<de>\n<en>\n<es>\n"


def test_a_text_is_its_language_and_pieces_that_give_it_back(
    tmp_path: Path, texts: list[Path]
) -> None:
    tokens = train(texts, 50, 1.0, tmp_path / "out")
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "out/bpe.model"))
    for text in ("<de> schöne alte Bäume", "<en> ½ ， Ａ"):
        assert model.decode_pieces(model.encode_as_pieces(text)) == text
    text = "<de> schöne alte Bäume"
    pieces = model.encode_as_pieces(text)
    assert pieces[0] == "<de>"
    assert set(pieces) <= set(tokens)
    assert model.decode_pieces(pieces) == text


def test_no_subword_joins_a_language_and_a_word(tmp_path: Path, texts: list[Path]) -> None:
    tokens = train(texts, 50, 1.0, tmp_path / "out")
    assert [token for token in tokens if "<" in token] == [
        "<blank>", "<unk>", "<de>", "<en>", "<es>", "<sos/eos>",
    ]  # fmt: skip


def test_a_language_of_few_texts_keeps_its_script(tmp_path: Path) -> None:
    english = [f"u{n} <en> the trees are old and so are we" for n in range(4000)]
    korean = ["k1 <ko> 나무가 오래되었다", "k2 <ko> 나무가 있다"]
    text = write(tmp_path / "text", *english, *korean)
    train([text], 60, 0.9995, tmp_path / "out")
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "out/bpe.model"))
    assert model.decode(model.encode("<ko> 나무가 있다")) == "<ko> 나무가 있다"


def test_rare_characters_of_each_language_are_left_out() -> None:
    texts = [("<en>", "aaab c"), ("<ko>", "나나나무"), ("<en>", "aaa")]
    assert frequent_characters(texts, 1.0) == "abc나무"
    assert frequent_characters(texts, 0.7) == "a나"
    assert frequent_characters([], 1.0) == ""


def test_what_cannot_be_is_said(
    tmp_path: Path, texts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="--nbpe 8:"):
        train(texts, 8, 1.0, tmp_path / "out")
    with pytest.raises(DataError, match="bad:1: not of the form"):
        train([write(tmp_path / "bad", "u1 no language")], 50, 1.0, tmp_path / "out")
    with pytest.raises(DataError, match="no text"):
        train([write(tmp_path / "empty")], 50, 1.0, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        main(["--nbpe", "8", "--out_dir", str(tmp_path / "out"), str(texts[0])])
    assert capsys.readouterr().err.count("\n") == 1
