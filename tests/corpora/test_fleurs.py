"""FLEURS in its exact layout with its known faults: what is kept, what is dropped and why."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from espnet_part.corpora.fleurs import main, parse_directions
from espnet_part.corpora.fleurs_layout import CODE_OF, CODES
from espnet_part.data.datadir import DataDir
from espnet_part.data.language_codes import is_language
from espnet_part.errors import ConfigError
from tests.corpora.tiny_fleurs import write_fleurs


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_fleurs(tmp_path_factory.mktemp("fleurs"))


def run(corpus, out, *options):
    main(["--corpus_dir", str(corpus), "--out", str(out), "--nj", "1", *options])
    loaded = {}
    for split in ("train", "dev", "test"):
        examples, faults = DataDir.load(out / split)
        assert not faults
        loaded[split] = {e.utt_id: e for e in examples}
    return loaded


def dropped(directory):
    rows = (directory / "dropped.tsv").read_text(encoding="utf-8").splitlines()
    assert rows[0].split("\t") == ["split", "lang", "task", "item", "reason", "detail"]
    return sorted(tuple(row.split("\t")[:5]) for row in rows[1:])


def refused(capsys, corpus, out, *options):
    with pytest.raises(SystemExit) as stop:
        run(corpus, out, *options)
    assert stop.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    return lines[-1]


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "data"
    return out, run(corpus, out, "--langs", "de,en")


def test_what_is_kept(made):
    _, loaded = made
    assert set(loaded["train"]) == {
        "fleurs_de_train_101-asr",
        "fleurs_de_train_102-asr",
        "fleurs_de_train_103-asr",
        "fleurs_de_train_107-asr",
        "fleurs_de_train_108-asr",
        *(f"fleurs_en_train_{clip}-asr" for clip in range(201, 208)),
        "fleurs_de_train_101-s2tt-en",
        "fleurs_de_train_102-s2tt-en",
        "fleurs_de_train_103-s2tt-en",
        "fleurs_de_train_108-s2tt-en",
        *(f"fleurs_en_train_{clip}-s2tt-de" for clip in (201, 202, 203, 204, 205, 207)),
        *(f"fleurs_de_train_sentence{n}-t2tt-en" for n in (1, 2, 3, 4, 6)),
        *(f"fleurs_en_train_sentence{n}-t2tt-de" for n in (1, 2, 3, 4, 6)),
    }
    assert set(loaded["dev"]) == {
        "fleurs_de_dev_111-asr",
        "fleurs_de_dev_111-s2tt-en",
        "fleurs_en_dev_211-asr",
        "fleurs_en_dev_211-s2tt-de",
    }
    assert len(loaded["test"]) == 8


def test_texts_and_audio(made, corpus):
    train = made[1]["train"]
    asr = train["fleurs_de_train_103-asr"]
    assert (asr.task, asr.lang, asr.tgt, asr.text) == ("asr", "de", "de", "Das ist ein Hund.")
    assert asr.audio == str(corpus / "de_de/audio/train/103.wav")
    translation = train["fleurs_de_train_102-s2tt-en"]
    assert (translation.lang, translation.tgt) == ("de", "en")
    assert translation.text == 'He said: "Good day!'
    assert translation.src_text == 'Er sagte: "Guten Tag!'
    assert translation.audio == str(corpus / "de_de/audio/train/102.wav")
    text = train["fleurs_en_train_sentence2-t2tt-de"]
    assert (text.src_text, text.text, text.audio) == ("This is a dog.", "Das ist ein Hund.", None)


def test_what_is_dropped_and_why(made):
    out, _ = made
    both = [("de", "asr"), ("de-en", "s2tt")]
    faulty = {
        "104.wav": "clip not as long as the table says",
        "105.wav": "missing clip",
        "106.wav": "empty text",
        "108.wav": "duplicate clip",
        "train.tsv:10": "wrong number of columns",
    }
    alone = "sentence missing in the other language"
    assert dropped(out / "train") == sorted(
        [("train", lang, task, item, why) for lang, task in both for item, why in faulty.items()]
        + [("train", "de-en", "s2tt", "107.wav", alone)]
        + [("train", "de-en", "t2tt", "sentence 99", alone)]
        + [("train", "en-de", "s2tt", "206.wav", alone)]
        + [("train", "en-de", "t2tt", "sentence 5", alone)]
    )
    assert dropped(out / "dev") == dropped(out / "test") == []


def test_a_benchmark_keeps_its_short_clips_and_names_them(made):
    out, loaded = made
    assert "fleurs_de_test_122-asr" in loaded["test"]
    notes = json.loads((out / "test" / "corpus.json").read_text())[0]["notes"]
    assert any("122.wav (0.40 s, the table says 0.80 s)" in note for note in notes)


def test_account(made):
    out, _ = made
    (entry,) = json.loads((out / "train" / "corpus.json").read_text())
    assert (entry["corpus"], entry["split"]) == ("FLEURS", "train")
    assert "text: raw_transcription" in entry["notes"]
    german = entry["languages"]["de"]["asr"]
    assert (german["official"], german["read"], german["kept"]) == (2987, 10, 5)
    assert german["cleaned"] == {"odd spaces": 1}
    assert entry["languages"]["de-en"]["s2tt"]["cleaned"] == {
        "several texts of one sentence, the first is taken": 1
    }
    for counts in (task for tasks in entry["languages"].values() for task in tasks.values()):
        assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    assert "| train | de       | asr" in (out / "train" / "corpus.md").read_text()


def test_archives_are_unpacked_once_and_beside_them(corpus, tmp_path):
    copy = shutil.copytree(corpus, tmp_path / "corpus")
    first = run(copy, tmp_path / "data", "--langs", "fr", "--tasks", "asr")
    for split, number in (("train", 301), ("dev", 311), ("test", 321)):
        example = first[split][f"fleurs_fr_{split}_{number}-asr"]
        assert example.audio.startswith(str(copy / "fr_fr/audio" / split))
    assert first["train"]["fleurs_fr_train_301-asr"].text == "Il a dit : « Bonjour ! »"
    for archive in (copy / "fr_fr/audio").glob("*.tar.gz"):
        archive.unlink()
    assert run(copy, tmp_path / "again", "--langs", "fr", "--tasks", "asr") == first


def test_archives_are_unpacked_elsewhere(corpus, tmp_path):
    options = ("--langs", "fr", "--tasks", "asr", "--unpack_dir", str(tmp_path / "audio"))
    loaded = run(corpus, tmp_path / "data", *options)
    clip = loaded["train"]["fleurs_fr_train_301-asr"].audio
    assert clip.startswith(str(tmp_path / "audio/fr_fr/train"))
    assert not (corpus / "fr_fr/audio/train").exists()


def test_a_corpus_that_cannot_be_written_to(capsys, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    said = refused(capsys, corpus, tmp_path, "--langs", "fr", "--tasks", "asr")
    assert "no permission to unpack train.tar.gz; see --unpack_dir" in said


def test_text_column(corpus, tmp_path):
    loaded = run(corpus, tmp_path / "data", "--langs", "de,en", "--text_column", "transcription")
    assert loaded["dev"]["fleurs_de_dev_111-asr"].text == "ein satz zur probe"
    (entry,) = json.loads((tmp_path / "data/dev/corpus.json").read_text())
    assert "text: transcription" in entry["notes"]


def test_a_direction_whose_target_is_only_read(corpus, tmp_path):
    """French audio is not needed where French is only written."""
    loaded = run(corpus, tmp_path / "data", "--langs", "de", "--directions", "de-fr")
    assert set(loaded["dev"]) == {"fleurs_de_dev_111-asr", "fleurs_de_dev_111-s2tt-fr"}
    assert loaded["dev"]["fleurs_de_dev_111-s2tt-fr"].text == "Une phrase pour essayer."
    assert not (corpus / "fr_fr/audio/train").exists()


def test_languages_under_data(corpus, tmp_path):
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "data").symlink_to(corpus)
    loaded = run(tmp_path / "clone", tmp_path / "out", "--langs", "de", "--tasks", "asr")
    assert set(loaded["dev"]) == {"fleurs_de_dev_111-asr"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--langs", "de,jp"), "did you mean 'ja'"),
        (
            ("--langs", "de,ja,en,ko"),
            "no directory ja_jp (ja), ko_kr (ko); languages there: de_de en_us fr_fr"
            " (choose with --langs and --directions)",
        ),
        (("--langs", "de", "--tasks", "asr,st"), "'st'"),
        (("--langs", "de"), "no pair among --langs de"),
        (("--langs", "de,en", "--directions", "de"), "must be `en`, `all` or a pair"),
        (("--langs", "de,en", "--directions", "de-xx"), "unknown language 'xx'"),
    ],
)
def test_wrong_options(capsys, corpus, tmp_path, options, message):
    assert message in refused(capsys, corpus, tmp_path, *options)


def test_wrong_directories(capsys, corpus, tmp_path):
    missing = tmp_path / "nowhere"
    assert f"{missing}: no such directory" in refused(capsys, missing, tmp_path, "--langs", "de")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "this is not FLEURS" in refused(capsys, empty, tmp_path, "--langs", "de,en")
    copy = shutil.copytree(corpus, tmp_path / "copy")
    shutil.rmtree(copy / "de_de/audio/dev")
    said = refused(capsys, copy, tmp_path, "--langs", "de", "--tasks", "asr")
    assert "neither a directory dev nor dev.tar.gz" in said


def test_directions():
    langs = ("de", "en", "fr")
    assert set(parse_directions("en", langs)) == {
        ("de", "en"),
        ("en", "de"),
        ("en", "fr"),
        ("fr", "en"),
    }
    assert len(parse_directions("all", langs)) == 6
    assert parse_directions("ja-ko, de-fr", langs) == (("ja", "ko"), ("de", "fr"))
    with pytest.raises(ConfigError):
        parse_directions("de-de", langs)


def test_codes():
    assert len(CODES) == len(set(CODES)) == len(CODE_OF) == 102
    assert all(is_language(lang) for lang in CODE_OF)
    assert (CODE_OF["zh"], CODE_OF["yue"], CODE_OF["es"]) == (
        "cmn_hans_cn",
        "yue_hant_hk",
        "es_419",
    )
