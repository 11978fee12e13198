"""Common Voice with the faults it is known for: exactly what is kept, what is dropped, and why."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from espnet_part.corpora.commonvoice import clean_sentence, main
from espnet_part.corpora.commonvoice_release import language_of, parse_locales
from espnet_part.data.datadir import DataDir
from espnet_part.errors import ConfigError
from tests.corpora.make import RELEASE, Locale, covost_table, dropped, read_table


@pytest.fixture
def german(tmp_path: Path) -> Locale:
    """One locale whose train table has every fault."""
    locale = Locale(tmp_path / RELEASE, "de")
    row = locale.row
    header = "\t".join(locale.header)
    locale.table(
        "train",
        [
            row(1, "Guten Tag."),
            row(2, '"Wer ist da?'),  # a csv reader with quoting swallows the rest
            row(3, '"Er sagte ""ja""."'),
            row(4, 'Sie sagte "nein" und ging.'),
            row(5, "Zu\u00a0viele \u2009 Leerzeichen\u200b "),
            row(6, "   "),
            row(7, "Der Clip fehlt.", clip=False),
            row(1, "Noch einmal derselbe Clip."),
            b"zu\twenige\tSpalten",
            "\t".join(["c", "x.mp3", "zu viele"] + ["2"] * 9).encode(),
            b"c\tcommon_voice_de_8.mp3\t\xff\xfe kein UTF-8" + b"\t" * 8,
            row(9, "Ein\u2028Zeilenende."),
            row(10, "NA", client=""),
            {"sentence": "Kein Clip genannt."},
            {**row(11, "Ein Ort."), "path": "../../geheim.mp3"},
            row(12, "Der Test von CoVoST."),
        ],
    )
    assert header.startswith("client_id")
    locale.table("dev", [row(20, "Entwicklung.")])
    locale.table("test", [row(30, "Prüfung.")])
    return locale


def run(*options: object, code: int = 0, capsys=None) -> str:
    """Run the command; return its stdout and stderr."""
    if code:
        with pytest.raises(SystemExit) as ended:
            main([str(option) for option in options])
        assert ended.value.code == code
    else:
        main([str(option) for option in options])
    said = capsys.readouterr()
    return said.out + said.err


def test_what_is_kept_and_what_is_dropped(german, tmp_path, capsys):
    output = run(
        *("--corpus_dir", tmp_path / RELEASE, "--out", tmp_path / "data", "--langs", "de"),
        capsys=capsys,
    )
    train = tmp_path / "data/train"
    assert read_table(train / "text") == {
        "cv_de_common_voice_de_1-asr": "Guten Tag.",
        "cv_de_common_voice_de_10-asr": "NA",
        "cv_de_common_voice_de_12-asr": "Der Test von CoVoST.",
        "cv_de_common_voice_de_2-asr": "Wer ist da?",
        "cv_de_common_voice_de_3-asr": 'Er sagte "ja".',
        "cv_de_common_voice_de_4-asr": 'Sie sagte "nein" und ging.',
        "cv_de_common_voice_de_5-asr": "Zu viele Leerzeichen",
        "cv_de_common_voice_de_9-asr": "Ein Zeilenende.",
    }
    assert sorted(dropped(train)) == sorted(
        [
            ("de", "asr", "common_voice_de_6.mp3", "empty sentence"),
            ("de", "asr", "common_voice_de_7.mp3", "missing clip"),
            ("de", "asr", "cv_de_common_voice_de_1-asr", "duplicate id"),
            ("de", "asr", "de/train.tsv:10", "wrong number of columns"),
            ("de", "asr", "de/train.tsv:11", "wrong number of columns"),
            ("de", "asr", "de/train.tsv:12", "not UTF-8"),
            ("de", "asr", "train.tsv: Kein Clip genannt.", "no clip named"),
            ("de", "asr", "../../geheim.mp3", "missing clip"),
        ]
    )
    entry = json.loads((train / "corpus.json").read_text())[0]
    assert (entry["corpus"], entry["release"], entry["split"]) == ("Common Voice", RELEASE, "train")
    counts = entry["languages"]["de"]["asr"]
    assert (counts["official"], counts["read"], counts["kept"]) == (567993, 16, 8)
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    assert counts["cleaned"] == {"spaces": 2, "quotes": 2}
    assert "| train | de       | asr  |   567993 |   16 |    8 | 8 (" in output
    assert "the overlap was not checked" in output
    assert "COVOST2=DIR ./run.sh …, or --covost2_dir DIR" in output
    assert "overlap was not checked" in (train / "corpus.md").read_text()

    for split in ("train", "dev", "test"):
        examples, faults = DataDir.load(tmp_path / "data" / split)
        assert examples and not faults
    speakers = read_table(train / "utt2spk")
    assert "cv_de_common_voice_de_10-asr" not in speakers  # a clip whose speaker is not known
    assert len(set(speakers.values())) == 1
    audio = read_table(train / "wav.scp")["cv_de_common_voice_de_1-asr"]
    assert audio == str(tmp_path / RELEASE / "de/clips/common_voice_de_1.mp3")


def test_clips_that_covost2_tests_on_are_not_trained_on(german, tmp_path, capsys):
    covost = tmp_path / "covost2"
    rows = [("12", "CoVoST's test.", "test"), ("1", "x", "train"), ("2", "x", "train_covost")]
    covost_table(covost, "de", "en", [*rows, ("4", "REMOVE", "dev"), ("20", "y", "test")])
    options = ("--corpus_dir", tmp_path / RELEASE, "--out", tmp_path / "data", "--langs", "de,ko")
    Locale(tmp_path / RELEASE, "ko").table("train", [])
    output = run(*options, "--covost2_dir", covost, capsys=capsys)
    found = {item for _, _, item, why in dropped(tmp_path / "data/train") if "CoVoST" in why}
    assert found == {"common_voice_de_12.mp3", "common_voice_de_4.mp3"}
    # what CoVoST 2 never had from a language needs no word; dev and test are as they are
    assert "warning" not in output
    assert "cv_de_common_voice_de_20-asr" in read_table(tmp_path / "data/dev/text")

    output = run(*options, "--covost2_dir", covost, "--keep_covost2_overlap", "true", capsys=capsys)
    assert "cv_de_common_voice_de_12-asr" in read_table(tmp_path / "data/train/text")
    assert "are kept" in output

    # tables without the clips' ending, in their archive on a disk that is not written to
    table = covost_table(covost, "de", "en", [("4", "y", "dev")])
    content = table.read_bytes().replace(b".mp3", b"")
    table.write_bytes(content)
    with tarfile.open(f"{table}.tar.gz", "w:gz") as tar:
        tar.add(table, arcname=table.name)
    table.unlink()
    there = sorted(covost.rglob("*"))
    run(*options, "--covost2_dir", covost, "--unpack_dir", tmp_path / "scratch", capsys=capsys)
    assert ("de", "asr", "common_voice_de_4.mp3", "held out in CoVoST 2") in dropped(
        tmp_path / "data/train"
    )
    assert sorted(covost.rglob("*")) == there

    output = run(*options, "--covost2_dir", german.directory, code=1, capsys=capsys)
    assert "has no table covost_v2" in output


@pytest.mark.parametrize("release", ["cv-corpus-4-2019-12-10", "cv-corpus-17.0-2024-03-15"])
def test_columns_are_found_by_name_in_any_release(tmp_path, capsys, release):
    locale = Locale(tmp_path / release, "it")
    for number, split in enumerate(("train", "dev", "test")):
        locale.table(split, [locale.row(number, f"Frase {split}.")])
    # the directory above the release's serves as well
    run("--corpus_dir", tmp_path, "--out", tmp_path / "data", "--langs", "it", capsys=capsys)
    assert list(read_table(tmp_path / "data/train/text").values()) == ["Frase train."]
    entry = json.loads((tmp_path / "data/test/corpus.json").read_text())[0]
    assert entry["release"] == release
    assert entry["languages"]["it"]["asr"]["official"] is None  # we know only 15.0's


def test_mandarin_and_cantonese_are_told_apart(tmp_path, capsys):
    for name in ("zh-CN", "zh-TW", "zh-HK", "yue", "sv-SE"):
        locale = Locale(tmp_path / RELEASE, name)
        for number, split in enumerate(("train", "dev", "test")):
            locale.table(split, [locale.row(number, f"你好 {name}")])
    options = ("--corpus_dir", tmp_path / RELEASE, "--out", tmp_path / "data")
    run(*options, "--langs", "zh,yue", capsys=capsys)
    assert read_table(tmp_path / "data/train/utt2lang") == {
        "cv_zh_common_voice_zh-CN_0-asr": "zh",
        "cv_yue_common_voice_yue_0-asr": "yue",
    }
    run(*options, "--langs", "zh zh-TW yue zh-HK sv", capsys=capsys)
    assert read_table(tmp_path / "data/train/utt2lang") == {
        "cv_sv_common_voice_sv-SE_0-asr": "sv",
        "cv_yue_common_voice_yue_0-asr": "yue",
        "cv_yue_common_voice_zh-HK_0-asr": "yue",
        "cv_zh_common_voice_zh-CN_0-asr": "zh",
        "cv_zh_common_voice_zh-TW_0-asr": "zh",
    }
    entry = json.loads((tmp_path / "data/test/corpus.json").read_text())[0]
    assert entry["languages"]["yue"]["asr"]["official"] == 2565 + 5593


def test_archives_are_unpacked_once(german, tmp_path, capsys):
    given = tmp_path / "given"
    given.mkdir()
    archive = given / f"{RELEASE}-de.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / RELEASE, arcname=RELEASE)
    shutil.rmtree(tmp_path / RELEASE)
    unpacked = tmp_path / "unpacked"
    options = ("--corpus_dir", given, "--out", tmp_path / "data", "--langs", "de")
    for _ in range(2):
        run(*options, "--unpack_dir", unpacked, capsys=capsys)
        assert list(read_table(tmp_path / "data/test/text").values()) == ["Prüfung."]
    entry = json.loads((tmp_path / "data/test/corpus.json").read_text())[0]
    assert entry["release"] == RELEASE
    assert [path.name for path in given.iterdir()] == [archive.name]

    run(*options, capsys=capsys)  # beside the archive
    assert (given / f"{RELEASE}-de").is_dir()


@pytest.mark.parametrize(
    ("langs", "said"),
    [
        ("de,fr,ko", "no fr, ko; there: de"),
        ("fr", "the layout is RELEASE/LOCALE/clips and"),
        ("ge", "unknown language 'ge'; did you mean 'de'?"),
        ("cn", "did you mean 'zh'?"),
        ("tlh-KX", "no tlh-KX; there: de"),
        (",", "no language is given"),
    ],
)
def test_a_locale_that_nobody_has(german, tmp_path, capsys, langs, said):
    options = ("--corpus_dir", tmp_path / RELEASE, "--out", tmp_path / "data", "--langs", langs)
    output = run(*options, code=1, capsys=capsys)
    assert said in output
    assert output.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_wrong_directories(german, tmp_path, capsys):
    options = ("--langs", "de", "--out", tmp_path / "data", "--corpus_dir")
    assert "is one locale" in run(*options, german.directory, code=1, capsys=capsys)
    assert "no such directory" in run(*options, tmp_path / "x", code=1, capsys=capsys)
    assert "is empty" in run(*options, "", code=1, capsys=capsys)
    shutil.copytree(tmp_path / RELEASE, tmp_path / "cv-corpus-16.0-2023-12-06")
    assert "in several releases" in run(*options, tmp_path, code=1, capsys=capsys)
    shutil.rmtree(tmp_path / "cv-corpus-16.0-2023-12-06")
    shutil.rmtree(german.clips)
    assert "clips: cannot be listed" in run(*options, tmp_path, code=1, capsys=capsys)


def test_a_failed_run_leaves_the_old_data(german, tmp_path, capsys):
    options = ("--langs", "de", "--out", tmp_path / "data", "--corpus_dir", tmp_path / RELEASE)
    run(*options, capsys=capsys)
    before = (tmp_path / "data/test/text").read_text()
    (german.directory / "test.tsv").unlink()
    assert "test.tsv: cannot be read" in run(*options, code=1, capsys=capsys)
    assert (tmp_path / "data/test/text").read_text() == before


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ('"ganz"', "ganz"),
        ('"a" und "b"', '"a" und "b"'),
        ('"a ""b"" c"', 'a "b" c'),
        ('"offen', "offen"),
        ('zu"', "zu"),
        ('mitten" drin', 'mitten" drin'),
        ('"', ""),
        ('""', ""),
        ("„deutsch“", "„deutsch“"),
    ],
)
def test_stray_quotes(sentence, expected):
    assert clean_sentence(sentence)[0] == expected


def test_locales_and_languages():
    assert parse_locales("zh, sv yue de") == ("zh-CN", "sv-SE", "yue", "de")
    assert parse_locales("zh-TW,zh-TW") == ("zh-TW",)
    assert [language_of(name) for name in ("zh-HK", "zh-TW", "sv-SE", "nan-tw")] == [
        "yue",
        "zh",
        "sv",
        "nan",
    ]
    with pytest.raises(ConfigError):
        parse_locales("german")
