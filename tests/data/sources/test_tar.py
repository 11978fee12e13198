from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from espnet_part.data.audio import BadAudio, open_sound, read_audio
from espnet_part.data.sources import audio_state, find_source, storage
from tests.data.conftest import tone
from tests.data.sources.make import encode, write_tar
from tests.memory import peak_memory


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_member_is_read_where_it_lies(tmp_path: Path, form: int) -> None:
    waves = {
        f"{'long/' * 30}{n}.{kind}": tone(0.3, seed=n) for n, kind in enumerate(["wav", "flac"])
    }
    waves["ü 1.flac"] = tone(0.2, seed=9)
    if form == tarfile.USTAR_FORMAT:
        waves = {name.replace("long/" * 30, "short/"): wave for name, wave in waves.items()}
    members = [(name, encode(wave, name.rpartition(".")[2])) for name, wave in waves.items()]
    entries = write_tar(tmp_path / "a.tar", members, form)
    for name, wave in waves.items():
        np.testing.assert_allclose(read_audio(entries[name]), wave, atol=2**-15)
        np.testing.assert_allclose(
            read_audio(entries[name], (0.05, 0.15)), wave[800:2400], atol=2**-15
        )


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "ogg"])
def test_a_cut_member_is_noticed_as_a_cut_file_is(tmp_path: Path, kind: str) -> None:
    whole = encode(tone(3.0), kind)
    entries = write_tar(tmp_path / "a.tar", [(f"a.{kind}", whole[: len(whole) // 2])])
    with pytest.raises(BadAudio, match=r"truncated|not readable"):
        read_audio(entries[f"a.{kind}"])


def test_a_tar_that_is_cut_or_written_anew_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    entries = write_tar(path, [(f"{n}.wav", encode(tone(0.1 + n / 10), "wav")) for n in range(3)])
    write_tar(path, [(f"{n}.wav", encode(tone(0.2 + n / 10), "wav")) for n in range(3)])
    for entry in entries.values():
        with pytest.raises(BadAudio, match="changed since its members were listed"):
            read_audio(entry)
    entries = write_tar(path, [("a.wav", encode(tone(0.1), "wav"))])
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadAudio, match="truncated: 2000 of"):
        read_audio(entries["a.wav"])


def test_places_that_are_no_member(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    entry = write_tar(path, [("a.wav", encode(tone(0.1), "wav"))])["a.wav"]
    size = entry.rpartition(":")[2]
    for place in ["0:0", f"511:{size}", f"513:{size}", "512:1", "512:0", "1024:512", f"{9**30}:5"]:
        with pytest.raises(BadAudio, match=r"no place in a tar|no file of|truncated"):
            read_audio(f"{path}:{place}")
    for place in [f"512:{2**52}", f"{2**52}:9"]:
        with peak_memory() as peak, pytest.raises(BadAudio, match="truncated: "):
            read_audio(f"{path}:{place}")
        assert peak() < 50 << 20
    with pytest.raises(BadAudio, match="missing file"):
        read_audio(f"{tmp_path}/none.tar:512:9")


def test_links_and_sparse_files_are_no_audio(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(encode(tone(0.1), "wav"))
    path = tmp_path / "a.tar"
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE):
        with tarfile.open(path, "w") as tar:
            info = tarfile.TarInfo("a.wav")
            info.type, info.linkname = kind, "secret.wav"
            tar.addfile(info)
            tar.addfile(tarfile.TarInfo("b"), io.BytesIO())
        with pytest.raises(BadAudio, match="no file of"):
            read_audio(f"{path}:512:0")


def test_a_segment_of_a_long_member_takes_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_AT_ONCE", 1 << 16)
    wave = tone(60.0)
    entry = write_tar(tmp_path / "a.tar", [("a.wav", encode(wave, "wav")), ("b", b"x" * 9)])[
        "a.wav"
    ]
    np.testing.assert_allclose(read_audio(entry), wave, atol=2**-15)
    with open_sound(entry) as sound:
        assert sound.frames == len(wave)
    with peak_memory() as peak:
        part = read_audio(entry, (59.0, 60.0))
    np.testing.assert_allclose(part, wave[-16000:], atol=2**-15)
    assert peak() < 2 << 20


def test_a_source_knows_the_file_that_holds_its_audio(tmp_path: Path) -> None:
    tar, ark, file = tmp_path / "a.tar", tmp_path / "a.ark", tmp_path / "a:b.wav"
    for path in (tar, ark, file):
        path.write_bytes(b"x" * len(path.name))
    for entry, container in [
        (f"{tar}:512:4", tar),
        (f"{ark}:512", ark),
        (f"{file}", file),
        (f"{tar}", tar),
    ]:
        assert find_source(entry).container(entry) == str(container)
        assert audio_state(entry).split()[0] == str(len(container.name))
    assert audio_state("no/such.tar:512:5") == audio_state("x" * 9999) == "missing"
    (tmp_path / "a:7").write_bytes(b"")  # a file may have such a name
    assert find_source(f"{tmp_path}/a:7").container(f"{tmp_path}/a:7") == f"{tmp_path}/a:7"
