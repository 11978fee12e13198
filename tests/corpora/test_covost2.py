"""CoVoST 2 joined with Common Voice: exactly what is kept, what is dropped, and why."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from espnet_part.corpora.covost2 import main
from espnet_part.corpora.covost2_tables import DIRECTIONS, directions_among, parse_directions
from espnet_part.corpora.languages import PART_LANGUAGES
from espnet_part.data.datadir import DataDir
from espnet_part.errors import ConfigError
from tests.corpora.make import Locale, covost_table, dropped, read_table

CV4 = "cv-corpus-4-2019-12-10"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """French into English, English into German and Chinese, with the known faults."""
    french = Locale(tmp_path / CV4, "fr")
    french.table(
        "validated",
        [
            french.row(1, "Bonjour."),
            french.row(2, '"Il dort'),
            french.row(3, "Sans traduction."),
            french.row(4, "À enlever."),
            french.row(5, "Le clip manque.", clip=False),
            french.row(6, " "),
            french.row(8, "Un essai."),
            french.row(9, "Dev."),
            french.row(1, "Deux fois dans la table."),
            french.row(99, "Pas dans CoVoST."),
            b"trop\tpeu",
        ],
    )
    covost_table(
        tmp_path / "covost2/fr",
        "fr",
        "en",
        [
            ("1", '"Hello."', "train"),
            ("2", 'He said \\"sleep\\" \\\\ twice', "train_covost"),
            ("3", " ", "train"),
            ("4", "REMOVE", "test"),
            ("5", "The clip is missing.", "train"),
            ("6", "Nothing was said.", "train"),
            ("7", "Lost by a later release.", "test"),
            ("8", '"An essay."', "test"),
            ("9", "Dev.", "dev"),
            ("1", "Hello again.", "train"),
            ("10", "What split?", "other"),
            b"common_voice_fr_11.mp3\ttwo columns",
        ],
    )
    english = Locale(tmp_path / CV4, "en")
    english.table("validated", [english.row(n, f"Sentence {n}.") for n in (1, 2, 3)])
    for target, word in (("de", "Satz"), ("zh-CN", "句子")):
        rows = [
            ("1", f"{word} 1", "train"),
            ("2", f"{word} 2", "dev"),
            ("3", f"{word}\u30003", "test"),
        ]
        covost_table(tmp_path / "covost2", "en", target, rows)
    return tmp_path


def run(root: Path, *options: str, release: str = CV4) -> None:
    own = ["--covost2_dir", str(root / "covost2"), "--commonvoice_dir", str(root / release)]
    main([*own, "--out", str(root / "data"), *options])


def test_what_is_kept_and_what_is_dropped(corpus, capsys):
    run(corpus, "--directions", "fr-en")
    train = corpus / "data/train"
    text, source = read_table(train / "text"), read_table(train / "src_text")
    assert text == {
        "covost2_fr_common_voice_fr_1-asr": "Bonjour.",
        "covost2_fr_common_voice_fr_1-s2tt-en": "Hello.",
        "covost2_fr_common_voice_fr_1-t2tt-en": "Hello.",
        "covost2_fr_common_voice_fr_2-asr": "Il dort",
        "covost2_fr_common_voice_fr_2-s2tt-en": 'He said "sleep" \\ twice',
        "covost2_fr_common_voice_fr_2-t2tt-en": 'He said "sleep" \\ twice',
        "covost2_fr_common_voice_fr_3-asr": "Sans traduction.",
        # its clip is missing, but text it is
        "covost2_fr_common_voice_fr_5-t2tt-en": "The clip is missing.",
        # nothing to recognise or to read, but speech and its translation
        "covost2_fr_common_voice_fr_6-s2tt-en": "Nothing was said.",
    }
    assert source["covost2_fr_common_voice_fr_1-s2tt-en"] == "Bonjour."
    assert sorted(dropped(train)) == sorted(
        [
            ("fr-en", "s2tt", "common_voice_fr_3.mp3", "empty translation"),
            ("fr-en", "t2tt", "common_voice_fr_3.mp3", "empty translation"),
            ("fr", "asr", "common_voice_fr_5.mp3", "missing clip"),
            ("fr-en", "s2tt", "common_voice_fr_5.mp3", "missing clip"),
            ("fr", "asr", "common_voice_fr_6.mp3", "empty sentence"),
            ("fr-en", "t2tt", "common_voice_fr_6.mp3", "empty sentence"),
            ("fr-en", "s2tt", "covost2_fr_common_voice_fr_1-s2tt-en", "duplicate id"),
            ("fr-en", "t2tt", "covost2_fr_common_voice_fr_1-t2tt-en", "duplicate id"),
            ("fr-en", "s2tt,t2tt", "covost_v2.fr_en.tsv:12", "unknown split"),
            ("fr-en", "s2tt,t2tt", "covost_v2.fr_en.tsv:13", "wrong number of columns"),
        ]
    )
    test = corpus / "data/test"
    assert read_table(test / "text") == {  # translation of text is for training
        "covost2_fr_common_voice_fr_4-asr": "À enlever.",
        "covost2_fr_common_voice_fr_8-asr": "Un essai.",
        "covost2_fr_common_voice_fr_8-s2tt-en": '"An essay."',  # as BLEU is published
    }
    assert sorted(dropped(test)) == sorted(
        [
            ("fr-en", "s2tt", "common_voice_fr_4.mp3", "REMOVE in the translation"),
            ("fr", "asr", "common_voice_fr_7.mp3", "not in validated.tsv"),
            ("fr-en", "s2tt", "common_voice_fr_7.mp3", "not in validated.tsv"),
        ]
    )
    for split in ("train", "dev", "test"):
        examples, faults = DataDir.load(corpus / "data" / split)
        assert examples and not faults
        entry = json.loads((corpus / "data" / split / "corpus.json").read_text())[0]
        for tasks in entry["languages"].values():
            for counts in tasks.values():
                assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    assert entry["languages"]["fr-en"]["s2tt"]["official"] == 14760
    assert (entry["corpus"], entry["release"]) == ("CoVoST 2", f"on {CV4}")
    said = capsys.readouterr().err
    assert "validated.tsv: 1 lines cannot be read, the first is line 12" in said
    assert "was made on Common Voice 4 and is joined" not in said
    assert sorted(path.name for path in (corpus / "data").iterdir()) == ["dev", "test", "train"]


def test_directions_out_of_english_share_a_clip(corpus):
    run(corpus, "--directions", "en-de,en-zh")
    assert read_table(corpus / "data/test/text") == {
        "covost2_en_common_voice_en_3-asr": "Sentence 3.",  # once
        "covost2_en_common_voice_en_3-s2tt-de": "Satz 3",
        "covost2_en_common_voice_en_3-s2tt-zh": "句子 3",
    }
    assert read_table(corpus / "data/test/utt2tgt")["covost2_en_common_voice_en_3-s2tt-zh"] == "zh"
    assert len(read_table(corpus / "data/train/text")) == 5  # and two of text


def test_tasks_are_chosen(corpus):
    options = ("--directions", "en-de", "--tasks", "s2tt,t2tt", "--test_tasks", "t2tt")
    run(corpus, *options)
    assert set(read_table(corpus / "data/train/utt2task").values()) == {"s2tt", "t2tt"}
    assert set(read_table(corpus / "data/test/utt2task").values()) == {"t2tt"}
    assert not (corpus / "data/test/wav.scp").exists()


def test_a_clip_that_one_direction_tests_is_not_recognised_in_training(corpus):
    covost_table(corpus / "covost2", "en", "zh-CN", [("1", "句子", "test"), ("2", "句", "dev")])
    run(corpus, "--directions", "en-zh,en-de")
    assert "covost2_en_common_voice_en_1-asr" not in read_table(corpus / "data/train/text")
    assert "covost2_en_common_voice_en_1-asr" in read_table(corpus / "data/test/text")


def test_a_later_release_says_what_it_has_lost(corpus, capsys):
    (corpus / CV4).rename(corpus / "cv-corpus-15.0-2023-09-08")
    run(corpus, "--directions", "fr-en", release="cv-corpus-15.0-2023-09-08")
    captured = capsys.readouterr()
    assert "CoVoST 2 was made on Common Voice 4 and is joined with cv-corpus-15.0" in captured.err
    row = next(line for line in captured.out.splitlines() if "| test" in line and "fr-en" in line)
    assert [cell.strip() for cell in row.split("|")[4:7]] == ["14760", "3", "1"]
    assert "not in validated.tsv 1" in row


def test_clips_that_another_release_tests_on_are_left_out_of_training(corpus):
    later = Locale(corpus / "cv-corpus-15.0-2023-09-08", "fr")
    later.table("test", [later.row(1, "Bonjour."), later.row(8, "Un essai.")])
    later.table("dev", [later.row(2, "Il dort")])
    run(corpus, "--directions", "fr-en", "--held_out_dir", str(later.directory.parent))
    text = read_table(corpus / "data/train/text")
    assert not [utt for utt in text if "_fr_1-" in utt or "_fr_2-" in utt]
    assert ("fr", "asr", "common_voice_fr_1.mp3", "held out in Common Voice") in dropped(
        corpus / "data/train"
    )
    assert "covost2_fr_common_voice_fr_8-asr" in read_table(corpus / "data/test/text")


def test_archives_as_they_are_given_out(corpus):
    table = corpus / "covost2/fr/covost_v2.fr_en.tsv"
    content = table.read_bytes()
    table.unlink()
    with tarfile.open(corpus / "covost2/covost_v2.fr_en.tsv.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("covost_v2.fr_en.tsv")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    for _ in range(2):
        run(corpus, "--directions", "fr_en")
        assert "covost2_fr_common_voice_fr_1-asr" in read_table(corpus / "data/train/text")
    (corpus / "covost2/covost_v2.fr_en.tsv.tar.gz").write_bytes(gzip.compress(b"no tar"))
    (corpus / "covost2/covost_v2.fr_en/covost_v2.fr_en.tsv").unlink()
    (corpus / "covost2/covost_v2.fr_en").rmdir()
    with pytest.raises(SystemExit):
        run(corpus, "--directions", "fr_en")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--directions", "fr-de"], "CoVoST 2 has no direction 'fr-de'; it has: fr-en"),
        (["--langs", "ko,yue"], "no direction among ko,yue"),
        (["--directions", "it-en"], "no covost_v2.it_en.tsv (nor .tar.gz of it)"),
        (["--langs", "eng"], "unknown language"),
        (["--tasks", "tts"], "no data for the task 'tts'"),
    ],
)
def test_wrong_options(corpus, capsys, options, said):
    with pytest.raises(SystemExit):
        run(corpus, *options)
    assert said in capsys.readouterr().err
    assert not (corpus / "data").exists()


def test_a_locale_that_is_missing(corpus, capsys):
    (corpus / CV4 / "fr").rename(corpus / "fr_elsewhere")
    with pytest.raises(SystemExit):
        run(corpus, "--directions", "fr-en,en-de")
    assert "no fr; there: en" in capsys.readouterr().err


def test_directions():
    assert len(DIRECTIONS) == 36
    assert [str(d) for d in directions_among(PART_LANGUAGES)] == [
        "fr-en", "de-en", "es-en", "it-en", "ru-en", "zh-en", "ja-en", "en-de", "en-zh", "en-ja",
    ]  # fmt: skip
    names = [d.table for d in parse_directions("en-sv zh-en,en_zh-CN en-zh")]
    assert names == [
        "covost_v2.en_sv-SE.tsv",
        "covost_v2.zh-CN_en.tsv",
        "covost_v2.en_zh-CN.tsv",
    ]
    with pytest.raises(ConfigError):
        parse_directions("")
