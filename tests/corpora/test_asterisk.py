"""Asterisk's prompts: transcripts with their quirks, splits without near-duplicates, data directories."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from espnet_part.corpora.asterisk import packages, prepare
from espnet_part.corpora.asterisk.packages import unpacked
from espnet_part.corpora.asterisk.prompts import read_prompts
from espnet_part.corpora.asterisk.splits import find_clusters, split_prompts
from espnet_part.data.datadir import DataDir
from espnet_part.errors import DataError

TRANSCRIPTS = """\
; Core Asterisk Sounds

Activated: Activated.
beep: [this is a simple beep tone]
conf-full:  La conferenza ? piena.
conf-adminmenu: conf-adminmenu: Press 1 to “mute” them.
dir-welcome:
for: Pour (emphase)…
keys: press * to toggle
letters/at: at [@]
minutes: ...minutes left
no-audio: Nobody says this
ready: Ready? Say so.
vm-temp: It was removed vm-then: then press pound
"""
RECORDED = ("activated", "beep", "conf-full", "conf-adminmenu", "dir-welcome", "for", "keys")
RECORDED += ("letters/at", "minutes", "ready", "vm-temp", "vm-then", "silent/one")


def test_every_prompt_is_read_or_dropped_with_its_reason() -> None:
    found = {p.id: p for p in read_prompts(TRANSCRIPTS, RECORDED)}
    assert set(found) == {*RECORDED, "no-audio"}
    assert {name: p.text for name, p in found.items() if not p.fault} == {
        "activated": "Activated.",
        "conf-adminmenu": "Press 1 to “mute” them.",
        "for": "Pour",
        "minutes": "minutes left",
        "ready": "Ready? Say so.",
        "vm-temp": "It was removed",
        "vm-then": "then press pound",
    }
    assert {name: p.fault[0] for name, p in found.items() if p.fault} == {
        "beep": "a tone or noise",
        "conf-full": "broken characters",
        "dir-welcome": "no text",
        "keys": "signs for words",
        "letters/at": "a letter or sign",
        "no-audio": "no audio",
        "silent/one": "no text",
    }
    assert [name for name, p in found.items() if p.cleaned] == ["for"]


WORDS = ["river", "cloud", "seven", "table", "ghost", "paper"]
WORDS += ["window", "marble", "orange", "velvet", "copper", "sudden"]


def texts(count: int) -> dict[str, dict[str, str]]:
    """Prompts of two languages that are far from one another."""
    rng = np.random.default_rng(0)
    return {
        lang: {f"p{n:03d}": " ".join(rng.permutation(WORDS)[:6]) for n in range(count)}
        for lang in ("en", "fr")
    }


def test_near_duplicates_in_any_language_are_in_one_split() -> None:
    found = texts(60)
    found["en"]["p001"] = found["en"]["p000"].upper() + "!"  # the same but for case and signs
    found["fr"]["p002"] = found["fr"]["p001"] + " ab"  # nearly the same, in another language
    clusters = find_clusters(found)
    assert clusters["p000"] == clusters["p001"] == clusters["p002"] != clusters["p003"]
    split = split_prompts(found, 5, 10)
    assert split["p000"] == split["p001"] == split["p002"] == "train"
    assert sorted(split.values()).count("dev") == 5
    assert sorted(split.values()).count("test") == 10


def test_a_prompt_stays_in_its_split_when_others_come() -> None:
    few = texts(60)
    more = {
        lang: {**by_id, "new": "entirely other words than those"} for lang, by_id in few.items()
    }
    before, after = split_prompts(few, 5, 10), split_prompts(more, 5, 10)
    moved = [name for name in before if before[name] != after[name]]
    assert len(moved) <= 2  # the new one may push out the last of test and of dev


def test_dev_and_test_have_prompts_of_all_languages_with_some_words() -> None:
    found = texts(40)
    found["fr"]["p003"] = "word"
    del found["fr"]["p004"]
    split = split_prompts(found, 10, 30)
    assert split["p003"] == split["p004"] == "train"


def deb(files: dict[str, bytes]) -> bytes:
    """A Debian package with these files (deb(5))."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    parts = [b"!<arch>\n"]
    members = (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", b"odd"),
        ("data.tar.xz", data.getvalue()),
    )
    for name, content in members:
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


def test_a_package_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.deb").write_bytes(deb({"usr/share/x": b"content"}))
    with unpacked(tmp_path / "a.deb") as files:
        assert (files / "usr/share/x").read_bytes() == b"content"
    assert not files.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no Debian package"),
        (b"PK\x03\x04", "no Debian package"),
        (deb({"a": b"b"})[:100], "has no data.tar"),
        (deb({"a": b"b"})[:-40], "damaged"),
        (deb({"../a": b"b"}), "a.deb|data.tar"),
        (b"!<arch>\n" + b"x" * 200, "has no data.tar"),
    ],
)
def test_what_is_no_package_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.deb").write_bytes(content)
    with pytest.raises(DataError, match=said), unpacked(tmp_path / "a.deb"):
        pass


def g722(seconds: float) -> bytes:
    """A tone in G.722 at 64 kbit/s."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="g722") as container:
        stream = container.add_stream("g722", rate=16000, layout="mono")
        samples = (8000 * np.sin(np.arange(int(16000 * seconds)) / 8)).astype(np.int16)
        for start in range(0, len(samples), 320):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 320], "s16", "mono")
            frame.rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The packages of two languages with forty prompts each, one of them without a partner."""
    place = tmp_path / "downloads"
    place.mkdir()
    sound, languages = g722(0.5), {}
    for lang, by_id in texts(40).items():
        if lang == "fr":
            del by_id["p000"]
        base = f"usr/share/asterisk/sounds/{packages.LANGUAGES[lang].voice}"
        lines = "".join(f"{name.upper()}: {text}.\n" for name, text in by_id.items())
        lines += "silence/1: (1 second of silence)\n"
        audio = deb({f"{base}/{name}.g722": sound for name in by_id})
        doc = f"usr/share/doc/asterisk-core-sounds-{lang}/core-sounds-{lang}.txt.gz"
        content = audio, deb({doc: gzip.compress(lines.encode("utf-8-sig"))})
        for name, package in zip(packages.package_names(lang), content, strict=True):
            (place / name).write_bytes(package)
        known = [(hashlib.sha256(package).hexdigest(), len(package)) for package in content]
        own = packages.LANGUAGES[lang]
        languages[lang] = packages.Language(own.voice, own.license, own.author, *known)
    monkeypatch.setattr(packages, "LANGUAGES", languages)
    monkeypatch.setattr(prepare, "LANGUAGES", languages)
    monkeypatch.setattr(prepare, "DEV_PROMPTS", 4)
    monkeypatch.setattr(prepare, "TEST_PROMPTS", 6)
    return place


def test_the_corpus_is_made_from_packages_in_a_directory(downloads: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    prepare.main(["--langs", "en,fr", "--out", str(out), "--download_dir", str(downloads)])
    found = {}
    for name in ("train", "dev", "test"):
        found[name], faults = DataDir.load(out / name)
        assert faults == []
    tasks = {name: [example.task for example in examples] for name, examples in found.items()}
    assert {name: tasks[name].count("asr") for name in tasks} == {"train": 59, "dev": 8, "test": 12}
    assert {name: tasks[name].count("s2tt") for name in tasks} == {
        "train": 58,
        "dev": 8,
        "test": 12,
    }
    exchanged, _ = DataDir.load(out / "test_exchanged")
    own = {e.utt_id: e for e in found["test"] if e.task == "asr"}
    assert {e.utt_id.removesuffix("-exchanged") for e in exchanged} == set(own)
    for e in exchanged:
        other = own[e.utt_id.removesuffix("-exchanged")]
        assert (e.lang, e.text) == (other.lang, other.text) and e.audio != other.audio
        assert f"/{e.lang}/" in (e.audio or "")
    assert len({e.audio for e in exchanged}) == len(exchanged)
    assert {name: tasks[name].count("t2tt") for name in tasks} == {"train": 58, "dev": 8, "test": 0}
    heard = {example.utt_id.split("_")[2].split("-")[0] for example in found["test"]}
    assert not heard & {e.utt_id.split("_")[2].split("-")[0] for e in found["train"]}
    import soundfile

    for example in found["test"]:
        info = soundfile.info(example.audio)
        assert (info.samplerate, info.format) == (16000, "FLAC")
        assert example.num_samples == info.frames and abs(info.frames - 8000) < 400
    dropped = (out / "train/dropped.tsv").read_text().splitlines()
    assert "train\ten-fr\ts2tt,t2tt\tp000\tno usable prompt in the other language\t" in dropped
    assert "train\ten\tasr\tsilence/1\tsilence\t" in dropped
    assert "CC-BY-SA-3.0, Allison Smith" in (out / "train/corpus.md").read_text()


def test_a_trial_takes_some_prompts_and_names_the_others(downloads: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    command = ["--langs", "en,fr", "--out", str(out), "--download_dir", str(downloads)]
    prepare.main([*command, "--max_prompts", "3"])
    for name in ("train", "dev", "test"):
        examples, _ = DataDir.load(out / name)
        heard = {example.utt_id.split("_")[2].split("-")[0] for example in examples}
        assert 1 <= len(heard) <= 3
    dropped = (out / "test/dropped.tsv").read_text().splitlines()
    assert sum("beyond --max_prompts" in line for line in dropped) == 6  # 3 of 6 in each language


def test_recordings_beyond_whispers_window_are_left_out(
    downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "LONGEST", 0.4)  # all of these are longer
    monkeypatch.setattr(prepare, "write_exchanged", lambda source, target: None)
    out = tmp_path / "data"
    with pytest.raises(DataError, match="none of 18 rows is usable: 12 x longer than 30 s"):
        prepare.prepare(("en", "fr"), out, downloads, max_prompts=3)
    examples, _ = DataDir.load(out / "train")
    assert {example.task for example in examples} == {"t2tt"}  # the texts are as good as any
    dropped = (out / "train/dropped.tsv").read_text()
    assert dropped.count("\tasr\t") and dropped.count("\ts2tt\t")


def test_a_damaged_package_is_named(downloads: Path, tmp_path: Path) -> None:
    (downloads / packages.package_names("fr")[0]).write_bytes(b"cut")
    with pytest.raises(DataError, match=r"g722_.*\.deb: is not the file that is expected"):
        prepare.prepare(("en", "fr"), tmp_path / "data", downloads)
    assert not (tmp_path / "data/train").exists()


@pytest.mark.parametrize("langs", ["fr", "en", "en de"])
def test_languages_are_checked(
    langs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        prepare.main(["--langs", langs, "--out", str(tmp_path)])
    assert "error: " in capsys.readouterr().err
