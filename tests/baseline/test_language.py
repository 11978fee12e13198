"""Models that write one language, and the decoding jobs that use them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.baseline.language import main, split_jobs, write_only
from espnet_part.errors import DataError

TOKENS = ["<blank>", "<unk>", "<de>", "<en>", "a", "b", "<sos/eos>"]
KNOWN = ["<de>", "<en>"]


def weights() -> dict[str, torch.Tensor]:
    return {
        "decoder.output_layer.bias": torch.zeros(len(TOKENS)),
        "decoder.output_layer.weight": torch.ones(len(TOKENS), 4),
        "ctc.ctc_lo.bias": torch.zeros(len(TOKENS)),
        "st_ctc.ctc_lo.bias": torch.zeros(len(TOKENS)),
    }


def test_only_the_other_languages_are_out_of_reach() -> None:
    state = weights()
    changed = write_only(state, "asr", TOKENS, ["<en>"])
    for name in ("decoder.output_layer.bias", "ctc.ctc_lo.bias"):
        probability = changed[name].softmax(-1)
        assert probability[TOKENS.index("<en>")] == 0
        rest = [n for n, token in enumerate(TOKENS) if token != "<en>"]
        torch.testing.assert_close(probability[rest], torch.full((6,), 1 / 6))
        assert torch.isfinite(changed[name].log_softmax(-1)).all()
    assert all(torch.equal(state[name], value) for name, value in weights().items())


def test_the_transcripts_ctc_of_an_st_model_is_left_alone() -> None:
    changed = write_only(weights(), "st", TOKENS, ["<en>"])
    assert torch.equal(changed["ctc.ctc_lo.bias"], torch.zeros(len(TOKENS)))
    assert changed["st_ctc.ctc_lo.bias"][TOKENS.index("<en>")] < -1000


def test_a_model_without_such_an_output_layer_is_refused() -> None:
    with pytest.raises(DataError, match="no output layer over the 7 tokens"):
        write_only({"decoder.output_layer.bias": torch.zeros(5)}, "asr", TOKENS, ["<en>"])


@given(
    st.dictionaries(st.text("abcdef", min_size=1), st.sampled_from(["de", "en", "es"]), min_size=1),
    st.integers(1, 9),
)
def test_every_utterance_is_in_one_job_of_its_language(
    languages: dict[str, str], jobs: int
) -> None:
    split = split_jobs(languages, jobs)
    dealt = [utterance for _, utterances in split for utterance in utterances]
    assert sorted(dealt) == sorted(languages)
    assert all(utterances for _, utterances in split)
    assert all(languages[u] == language for language, utterances in split for u in utterances)
    assert len(split) <= jobs + len(set(languages.values()))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for name, content in {
        "data/utt2tgt": "u1 de\nu2 en\nu3 de\n",
        "tokens/tokens.txt": "".join(f"{token}\n" for token in TOKENS),
        "tokens/languages.txt": "<de>\n<en>\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    torch.save(weights(), tmp_path / "model.pth")
    return tmp_path


def run(recipe: Path, *more: str) -> None:
    options = {
        "data_dir": "data",
        "model_file": "model.pth",
        "token_dir": "tokens",
        "logdir": "log",
    }
    words = [word for name, path in options.items() for word in (f"--{name}", str(recipe / path))]
    main(["--task", "asr", "--nj", "1", *words, *more])


def test_jobs(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(recipe)
    assert capsys.readouterr().out == "2\n"
    assert (recipe / "log/keys.1.scp").read_text() == "u1\nu3\n"
    assert (recipe / "log/keys.2.scp").read_text() == "u2\n"
    german = torch.load(recipe / "log/model.1.pth", weights_only=True)
    assert german["decoder.output_layer.bias"][2:4].tolist() == [0, -1e4]
    english = torch.load(recipe / "log/model.2.pth", weights_only=True)
    assert english["decoder.output_layer.bias"][2:4].tolist() == [-1e4, 0]


def test_a_model_that_guesses_is_used_as_it_is(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(recipe, "--let_it_guess")
    assert capsys.readouterr().out == "1\n"
    assert (recipe / "log/keys.1.scp").read_text() == "u1\nu2\nu3\n"
    assert (recipe / "log/model.1.pth").resolve() == (recipe / "model.pth").resolve()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("data/utt2tgt", "u1 fr\n", "no training text is in fr, but <de> <en>"),
        ("model.pth", "junk", "cannot be loaded"),
    ],
)
def test_what_is_wrong_is_said(
    recipe: Path, capsys: pytest.CaptureFixture[str], file: str, content: str, message: str
) -> None:
    (recipe / file).write_text(content)
    with pytest.raises(SystemExit):
        run(recipe)
    assert message in capsys.readouterr().err
