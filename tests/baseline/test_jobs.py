"""Decoding jobs of one language each."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.baseline.jobs import main, split_jobs


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


@pytest.mark.parametrize(
    ("options", "languages", "first"),
    [([], ["de", "en"], "u1\nu3\n"), (["--let_it_guess"], ["any"], "u1\nu2\nu3\n")],
)
def test_command(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    languages: list[str],
    first: str,
) -> None:
    (tmp_path / "utt2tgt").write_text("u1 de\nu2 en\nu3 de\n")
    main(["--data_dir", str(tmp_path), "--logdir", str(tmp_path / "log"), *options])
    assert capsys.readouterr().out == f"{len(languages)}\n"
    for number, language in enumerate(languages, 1):
        assert (tmp_path / f"log/language.{number}").read_text() == f"{language}\n"
    assert (tmp_path / "log/keys.1.scp").read_text() == first
