from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from espnet_part.bin.part_format_data import main as format_data
from espnet_part.bin.part_import_tar import main
from espnet_part.corpora.webdataset import find_shards, read_index
from espnet_part.data.audio import read_audio
from espnet_part.data.datadir import DataDir, Example
from espnet_part.errors import ConfigError
from tests.data.conftest import tone
from tests.data.sources.make import encode, write_tar


def sample(key: str, seed: int, **files: str) -> list[tuple[str, bytes]]:
    audio = encode(tone(0.2 + seed / 100, seed=seed))
    return [(f"{key}.flac", audio), *((f"{key}.{n}", t.encode()) for n, t in files.items())]


def load(path: Path) -> dict[str, Example]:
    examples, faults = DataDir.load(path)
    assert faults == []
    return {example.utt_id: example for example in examples}


def dropped(path: Path) -> dict[str, str]:
    """{item: reason}"""
    rows = [line.split("\t") for line in (path / "dropped.tsv").read_text().splitlines()[1:]]
    return {row[3]: row[4] for row in rows}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for number in range(3):
        members = []
        for n in range(4):
            about = {"text": f"Satz {number} {n}", "language": "de-DE", "speaker": f"s {n}"}
            about["custom"] = {"english": f"sentence\n{n}"}  # type: ignore[assignment]
            members += sample(f"dir/{number}{n}", 4 * number + n, json=json.dumps(about))
        write_tar(tmp_path / f"train-{number:03}.tar", members)
    return tmp_path


def test_samples_become_a_data_directory_and_the_audio_stays(shards: Path, tmp_path: Path) -> None:
    main(["--shards", f"{shards}/train-{{000..002}}.tar", "--out", f"{tmp_path}/data"])
    found = load(tmp_path / "data")
    assert len(found) == 12
    example = found["dir/12"]
    assert (example.text, example.lang, example.spk) == ("Satz 1 2", "de", "s_2")
    assert example.audio is not None and example.audio.startswith(f"{shards}/train-001.tar:")
    np.testing.assert_allclose(read_audio(example), tone(0.26, seed=6), atol=2**-15)
    assert "| 12 |" in (tmp_path / "data/corpus.md").read_text().replace("   ", " ")


def test_translations_become_examples_of_their_own(shards: Path, tmp_path: Path) -> None:
    command = ["--shards", f"{shards}/train-00[01].tar", "--out", f"{tmp_path}/data"]
    main([*command, "--task", "asr,s2tt,t2tt", "--translation", "en=json.custom.english"])
    found = load(tmp_path / "data")
    assert len(found) == 3 * 8
    assert found["dir/02-s2tt-en"] == Example(
        *("dir/02-s2tt-en", "s2tt", "de", "en", "sentence 2", "Satz 0 2"),
        audio=found["dir/02"].audio,
        spk="s_2",
    )
    assert found["dir/02-t2tt-en"].audio is None
    for wrong, match in [
        (["--task", "s2tt"], "needs --translation"),
        (["--task", "s2tx"], "unknown task"),
        (["--translation", "en"], "must be LANG=FIELD"),
        (["--lang", "german"], "did you mean `de`"),
    ]:
        with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stderr", said := io.StringIO())
            main([*command, *wrong])
        assert match in said.getvalue()


@pytest.mark.parametrize("audio_format", ["copy", "flac", "wav"])
def test_stage_2_reads_the_shards(shards: Path, tmp_path: Path, audio_format: str) -> None:
    main(["--shards", f"{shards}/train-*.tar", "--out", f"{tmp_path}/data"])
    options = ["--in_dir", f"{tmp_path}/data", "--out_dir", f"{tmp_path}/dump", "--nj", "2"]
    format_data([*options, "--audio_format", audio_format])
    before, after = load(tmp_path / "data"), load(tmp_path / "dump")
    assert before.keys() == after.keys()
    for utt, example in after.items():
        assert (example.audio == before[utt].audio) == (audio_format == "copy")
        samples = read_audio(example)
        assert example.num_samples == len(samples)
        np.testing.assert_allclose(samples, read_audio(before[utt]), atol=2**-14)


def test_what_is_no_sample_of_speech_is_counted_and_named(tmp_path: Path) -> None:
    good = sample("good", 0, txt="gut")
    members = [
        *sample("good", 1, txt="gut"),
        *sample("twice", 1, txt="eins"),
        *sample("quiet", 2),
        ("picture.jpg", b"x"),
        ("picture.txt", b"x"),
        *sample("two", 3, txt="zwei"),
        ("two.wav", b"RIFF"),
        *sample("latin", 4),
        ("latin.txt", "für".encode("latin-1")),
        *sample("long", 5, txt="x" * (1 << 21)),
        *sample("json", 6, json='{"text": '),
        *sample("deep", 7, json="[" * 5000),
        *sample("twice", 8, txt="zwei"),
        *sample("../out", 9, txt="x"),
        *sample("/root", 10, txt="x"),
        *sample("f\udcfcr", 10, txt="x"),
        *sample("./here and there", 11, txt=" ja \t ja\n"),
    ]
    write_tar(tmp_path / "a.tar", members)
    path = tmp_path / "b.tar"
    with tarfile.open(path, "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"{kind!r}.wav")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    write_tar(tmp_path / "cut.tar", [*sample("cut1", 12, txt="x"), *sample("cut2", 13, txt="x")])
    whole = (tmp_path / "cut.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: whole.index(b"cut2") + 2000])
    (tmp_path / "zip.tar").write_bytes(gzip.compress(whole))
    (tmp_path / "junk.tar").write_bytes(b"junk" * 999)
    (tmp_path / "empty.tar").write_bytes(b"")
    write_tar(tmp_path / "z.tar", good)
    names = ["a", "b", "cut", "zip", "junk", "empty", "none", "z"]
    paths = [f"{tmp_path}/{name}.tar" for name in names]
    main(["--shards", *paths, "--lang", "de", "--out", f"{tmp_path}/data"])
    found = load(tmp_path / "data")
    assert {utt: e.text for utt, e in found.items()} == {
        "good": "gut",
        "twice": "eins",
        "here_and_there": "ja ja",
        "cut1": "x",
    }
    reasons = dropped(tmp_path / "data")
    assert {item.removeprefix(f"{tmp_path}/"): reason for item, reason in reasons.items()} == {
        "good": "duplicate id",
        "twice": "duplicate id",
        "quiet": "no text",
        "f?r": "no name for an utterance",
        "a.tar: picture": "no audio in a sample",
        "a.tar: two": "several audio files in a sample",
        "a.tar: latin": "wrong encoding",
        "a.tar: long": "text too long",
        "a.tar: json": "no JSON",
        "a.tar: deep": "no JSON",
        **{f"a.tar: {n}": "a name that leads out of the shard" for n in NAMES},
        "b.tar: b'2'.wav": "a symbolic link",
        "b.tar: b'1'.wav": "a hard link",
        "b.tar: b'6'.wav": "a device or pipe",
        **{f"{n}.tar": "damaged or unreadable shard" for n in names[2:-1]},
    }
    said = (tmp_path / "data/dropped.tsv").read_text()
    for reason in ["ends inside the member 'cut2.flac'", "gunzip", "missing file"]:
        assert reason in said


NAMES = ["../out.flac", "../out.txt", "/root.flac", "/root.txt"]


def test_headers_that_lie_about_sizes_end_in_a_named_shard(tmp_path: Path) -> None:
    def shard(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> str:
        info = tarfile.TarInfo("a.wav")
        info.size, info.type = size, kind
        block = info.tobuf(tarfile.GNU_FORMAT)
        (tmp_path / name).write_bytes(block + b"x" * 5120)
        return f"{tmp_path}/{name}"

    negative = bytearray(tarfile.TarInfo("a.wav").tobuf(tarfile.GNU_FORMAT))
    negative[124:136] = b"\xff" * 10 + b"\xfc\x00"  # -1024 in base 256
    negative[148:156] = b"%06o\0 " % (sum(negative[:148]) + 256 + sum(negative[156:512]))
    (tmp_path / "negative.tar").write_bytes(bytes(negative) * 9)
    shards = [
        shard("large.tar", 1 << 60),
        shard("name.tar", 1 << 40, tarfile.GNUTYPE_LONGNAME),
        shard("pax.tar", 1 << 40, tarfile.XHDTYPE),
        f"{tmp_path}/negative.tar",
        str(write_tar(tmp_path / "good.tar", sample("a", 1, txt="x")) and tmp_path / "good.tar"),
    ]
    main(["--shards", *shards, "--lang", "de", "--out", f"{tmp_path}/data"])
    assert dropped(tmp_path / "data") == dict.fromkeys(shards[:4], "damaged or unreadable shard")


def test_what_stands_behind_the_end_of_a_shard_is_not_lost_silently(tmp_path: Path) -> None:
    for name in "ab":
        write_tar(tmp_path / f"{name}.tar", sample(name, ord(name), txt=name))
    both = tmp_path / "both.tar"
    both.write_bytes((tmp_path / "a.tar").read_bytes() + (tmp_path / "b.tar").read_bytes())
    for _ in range(2):  # nor by an index
        main(["--shards", str(both), "--lang", "de", "--out", f"{tmp_path}/data"])
        assert load(tmp_path / "data").keys() == {"a"}
        assert dropped(tmp_path / "data") == {str(both): "damaged or unreadable shard"}


def test_where_nothing_is_left_the_line_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--shards", f"{tmp_path}/a.tar", "--lang", "de", "--out", f"{tmp_path}/data"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"unreadable shard; the first: {tmp_path}/a.tar: missing file")


def test_a_number_that_is_none_is_no_text(tmp_path: Path) -> None:
    members = [*sample("a", 1, json='{"text": NaN}'), *sample("b", 2, json='{"text": 7}')]
    write_tar(tmp_path / "a.tar", members)
    main(["--shards", f"{tmp_path}/a.tar", "--lang", "de", "--out", f"{tmp_path}/data"])
    assert load(tmp_path / "data")["b"].text == "7"
    assert dropped(tmp_path / "data") == {"a": "no text"}


def test_an_index_takes_the_place_of_the_headers(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--shards", f"{shards}/train-*.tar", "--out", f"{tmp_path}/data"]
    main(command)
    first = load(tmp_path / "data")
    index = shards / "train-000.idx"
    with tarfile.open(shards / "train-000.tar") as tar:
        expected = [(m.name, m.offset_data, m.size) for m in tar.getmembers()]
    version, *lines = index.read_text().splitlines()
    assert version == "v1.2 4" and len(lines) == 4
    assert lines[0] == " ".join(f"{name[7:]} {at} {size} {name}" for name, at, size in expected[:2])
    known = read_index(f"{shards}/train-000.tar")
    assert known is not None and [(m.name, m.offset, m.size) for m in known] == expected

    def fail(*_: object) -> Iterable[Any]:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr("espnet_part.corpora.webdataset.list_tar", fail)
        main(command)
    assert load(tmp_path / "data") == first

    os.utime(shards / "train-000.tar")  # an older index may be wrong
    assert read_index(f"{shards}/train-000.tar") is None
    index.write_text("another program's")
    main(command)
    assert load(tmp_path / "data") == first and index.read_text() == "another program's"
    index.write_text("v1.2 1\nflac 512 77 dir/00.flac json 99999999 5 dir/00.json\n")
    main(command)
    assert f"index is wrong: remove {index}" in (tmp_path / "data/dropped.tsv").read_text()


def test_a_shard_that_another_took_the_place_of_is_listed_anew(tmp_path: Path) -> None:
    """Even one of the same layout, whose time is older, as rsync and tar leave it."""
    command = ["--shards", f"{tmp_path}/a.tar", "--lang", "de", "--out", f"{tmp_path}/data"]
    for key in "ab":
        write_tar(tmp_path / "a.tar", sample(key, 1, txt=key))
        os.utime(tmp_path / "a.tar", (1e9, 1e9))
        main(command)
        assert {utt: e.text for utt, e in load(tmp_path / "data").items()} == {key: key}


def test_shards_in_a_store(shards: Path, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for path in shards.glob("*.tar"):
        store.pipe(f"/c/{path.name}", path.read_bytes())
    main(["--shards", "memory://c/train-{000..002}.tar", "--out", f"{tmp_path}/data"])
    found = load(tmp_path / "data")
    assert len(found) == 12
    assert str(found["dir/00"].audio).startswith("memory://c/train-000.tar:512:")
    options = ["--in_dir", f"{tmp_path}/data", "--out_dir", f"{tmp_path}/dump", "--nj", "1"]
    format_data([*options, "--audio_format", "flac"])
    np.testing.assert_allclose(
        read_audio(load(tmp_path / "dump")["dir/11"]), read_audio(found["dir/11"]), atol=2**-14
    )


def test_keys_that_are_unique_in_a_shard_alone(tmp_path: Path) -> None:
    for name in "ab":
        write_tar(tmp_path / f"{name}.tar", sample("0", ord(name), txt=name))
    command = ["--shards", f"{tmp_path}/*.tar", "--lang", "de", "--out", f"{tmp_path}/data"]
    main([*command, "--shard_prefix", "true"])
    assert {utt: e.text for utt, e in load(tmp_path / "data").items()} == {"a/0": "a", "b/0": "b"}


def test_patterns_of_shards(tmp_path: Path) -> None:
    assert find_shards(["a-{08..11}.tar", "s3://b/{0..1}-{0..1}.tar"]) == [
        *(f"a-{n}.tar" for n in ("08", "09", "10", "11")),
        *(f"s3://b/{m}-{n}.tar" for m in "01" for n in "01"),
    ]
    many = ["a-{0..99999999}.tar", "a-{0..999}{0..999}{0..999}.tar"]
    for wrong in [f"{tmp_path}/*.tar", "a.tar.gz", "a-{9..1}.tar", *many]:
        with pytest.raises(ConfigError, match="--shards"):
            find_shards([wrong])
