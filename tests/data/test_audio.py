from __future__ import annotations

import errno
import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_part.data.audio import BadAudio, read_audio, read_matrix, read_with_remarks
from espnet_part.data.datadir import Example
from espnet_part.data.sources import storage
from espnet_part.errors import UserError
from tests.data.conftest import tone


def write(path, wave, rate=16000, **options):
    soundfile.write(path, wave, rate, **options)
    return path


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", None), ("a.flac", None), ("a.ogg", "OPUS"), ("a.ogg", "VORBIS"), ("a.mp3", None)],
)
def test_formats(tmp_path, name, subtype):
    wave = tone(0.5)
    got = read_audio(write(tmp_path / name, wave, subtype=subtype))
    assert got.dtype == np.float32 and got.ndim == 1
    assert abs(len(got) - 8000) <= 1200  # MP3 adds its encoder's delay
    if name.endswith(("wav", "flac")):
        np.testing.assert_allclose(got, wave, atol=2**-15)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_other_rates_are_resampled(tmp_path, rate):
    seconds = np.arange(rate) / rate
    sine = np.sin(2 * np.pi * 440 * seconds).astype(np.float32)
    got = read_audio(write(tmp_path / "a.wav", sine, rate, subtype="FLOAT"))
    assert len(got) == 16000
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(got[200:-200], expected[200:-200], atol=1e-3)


def test_channels_are_averaged(tmp_path):
    left, right = tone(0.1, seed=1), tone(0.1, seed=2)
    path = write(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path), (left + right) / 2, atol=1e-6)


def test_segment_is_that_part(tmp_path):
    wave = tone(1.0)
    path = write(tmp_path / "a.flac", wave)
    part = read_audio(path, (0.25, 0.75))
    np.testing.assert_array_equal(part, read_audio(path)[4000:12000])
    example = Example("a", "asr", "de", "de", "x", audio=str(path), segment=(0.25, 0.75))
    np.testing.assert_array_equal(part, read_audio(example))
    assert len(read_audio(path, (0.5, 1.04))) == 8000  # rounding of the end
    for wrong in [(0.5, 1.2), (1.0, 2.0)]:
        with pytest.raises(BadAudio, match="the segment ends at"):
            read_audio(path, wrong)


def test_kaldi_ark(tmp_path):
    wave = (tone(0.25) * 32767).astype(np.int16)
    ark = tmp_path / "a.ark"
    for options in ({}, {"write_function": "soundfile"}):
        with kaldiio.WriteHelper(f"ark,scp:{ark},{tmp_path}/a.scp", **options) as writer:
            writer("x", (16000, tone(0.1)) if options else (16000, wave[:100]))
            writer("y", (16000, wave / np.float32(32768)) if options else (16000, wave))
        spec = (tmp_path / "a.scp").read_text().splitlines()[1].split(" ")[1]
        np.testing.assert_allclose(read_audio(spec), wave / 32768, atol=2**-15)
        np.testing.assert_allclose(
            read_audio(spec, (0.125, 0.25)), wave[2000:] / 32768, atol=2**-15
        )
    with pytest.raises(BadAudio, match="no audio at offset"):
        read_audio(f"{ark}:1")
    for offset in (10**7, 2**63, 2**64, "9" * 5000):
        for read in (read_audio, read_matrix):
            with pytest.raises(BadAudio, match="beyond the end of the ark"):
                read(f"{ark}:{offset}")
    ark.write_bytes(ark.read_bytes()[:-1000])
    with pytest.raises(BadAudio, match=r"truncated|not readable"):
        read_audio(spec)


@pytest.mark.parametrize("marker", [b"PKL", b"NPY"])
def test_nothing_in_an_ark_runs_code(tmp_path, marker):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)

    ark = tmp_path / "a.ark"
    ark.write_bytes(b"x " + marker + pickle.dumps(Attack()))
    for read in (read_audio, read_matrix):
        with pytest.raises(BadAudio):
            read(f"{ark}:2")
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("spec", ["touch {} |", "|touch {}", " touch {} | "])
def test_commands_are_refused(tmp_path, spec):
    for read in (read_audio, read_matrix):
        with pytest.raises(BadAudio):
            read(spec.format(tmp_path / "attacked"))
    assert not (tmp_path / "attacked").exists()


def test_missing_empty_junk_and_folders(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "junk.mp3").write_bytes(b"hello" * 100)
    os.mkfifo(tmp_path / "pipe.wav")
    for name, reason in [
        ("none.wav", "missing file"),
        ("empty.wav", "empty file"),
        ("junk.mp3", "not readable as audio"),
        ("pipe.wav", "not a regular file"),
        (".", "is a directory"),
        ("none.ark:5", "missing file"),
    ]:
        with pytest.raises(BadAudio, match=reason):
            read_audio(tmp_path / name)
    with pytest.raises(BadAudio, match="no audio is named"):
        read_audio("")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = write(tmp_path / "a.wav", tone(0.1))
    path.chmod(0)
    with pytest.raises(BadAudio, match="no permission"):
        read_audio(path)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", None), ("a.flac", None), ("a.ogg", "OPUS"), ("a.ogg", "VORBIS"), ("a.mp3", None)],
)
def test_truncated_files_are_noticed(tmp_path, name, subtype):
    path = write(tmp_path / name, tone(3.0), subtype=subtype)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadAudio, match=r"truncated|not readable"):
        read_audio(path)


def test_zero_length_and_values_that_are_no_numbers(tmp_path):
    with pytest.raises(BadAudio, match="no samples"):
        read_audio(write(tmp_path / "a.wav", np.zeros(0, np.float32)))
    for value in (np.nan, np.inf):
        wave = tone(0.1)
        wave[5] = value
        with pytest.raises(BadAudio, match="not finite"):
            read_audio(write(tmp_path / "a.wav", wave, subtype="FLOAT"))


def test_ten_hours_are_refused_before_they_are_read(tmp_path):
    """A sparse file stands for ten hours; a segment of it is read."""
    path = write(tmp_path / "long.wav", np.zeros(16, np.int16))
    data = 10 * 3600 * 16000 * 2
    header = bytearray(path.read_bytes()[:44])
    header[4:8] = (data + 36).to_bytes(4, "little")
    header[40:44] = data.to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(header)
        file.truncate(44 + data)
    with pytest.raises(BadAudio, match="too long: 36000 s"):
        read_audio(path)
    assert len(read_audio(path, (35000.0, 35001.0))) == 16000


def test_matrix(tmp_path):
    matrix = np.random.randn(7, 3).astype(np.float32)
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/f.ark,{tmp_path}/f.scp") as writer:
        writer("x", matrix)
        writer("nan", np.full((2, 2), np.nan, np.float32))
    good, nan = [line.split(" ")[1] for line in (tmp_path / "f.scp").read_text().splitlines()]
    np.testing.assert_array_equal(read_matrix(good), matrix)
    with pytest.raises(BadAudio, match="not finite"):
        read_matrix(nan)
    with pytest.raises(BadAudio, match=r"path\.ark:offset"):
        read_matrix(str(tmp_path / "f.ark"))


def wav(rate: int = 16000, subtype: str = "PCM_16", form: str = "WAV") -> tuple[np.ndarray, bytes]:
    wave, file = tone(0.5), io.BytesIO()
    soundfile.write(file, wave, rate, format=form, subtype=subtype)
    return wave, file.getvalue()


UNKNOWN = [
    0, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFDB, 0xFFFFF000, 0x7FFFF000, 0x7FFEFFFE, 0x7FFF0000, 0x7FFFFFFF,
    0x7FFFFFDB, 0x7FFFFFFE, 0x80000000, 0x80000024,
]  # fmt: skip


@pytest.mark.parametrize("length", UNKNOWN)
@pytest.mark.parametrize("riff", [0, 0xFFFFFFFF, None])
def test_wav_of_a_writer_that_did_not_know_its_length(
    tmp_path: Path, length: int, riff: int | None
) -> None:
    wave, content = wav()
    total = (length + 36) & 0xFFFFFFFF if riff is None else riff
    header = content[:4] + struct.pack("<I", total) + content[8:40] + struct.pack("<I", length)
    (tmp_path / "a.wav").write_bytes(header + content[44:])
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), wave, atol=2**-15)
    part = read_audio(tmp_path / "a.wav", (0.25, 0.375))
    np.testing.assert_allclose(part, wave[4000:6000], atol=2**-15)
    if total == 0 or total >= 0x70000000:
        ark = tmp_path / "a.ark"
        ark.write_bytes(b"x " + header + content[44:])
        np.testing.assert_allclose(read_audio(f"{ark}:2"), wave, atol=2**-15)
        ark.write_bytes(ark.read_bytes() + b"y " + content)
        with pytest.raises(BadAudio, match=r"unknown length|truncated"):
            read_audio(f"{ark}:2")


def test_a_length_that_is_wrong_is_no_unknown_one(tmp_path: Path) -> None:
    _, content = wav()
    for length in (20_000, 5_000_000, 0x60000000, 0xC0000000):
        (tmp_path / "a.wav").write_bytes(content[:40] + struct.pack("<I", length) + content[44:])
        with pytest.raises(BadAudio, match="truncated"):
            read_audio(tmp_path / "a.wav")
    empty = content[:40] + struct.pack("<I", 0) + b"LIST" + struct.pack("<I", 4) + b"INFO"
    (tmp_path / "a.wav").write_bytes(empty)
    with pytest.raises(BadAudio, match="no samples"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("size", [0, 2**64 - 1])
def test_other_containers_of_unknown_length(tmp_path: Path, size: int) -> None:
    wave, content = wav(form="RF64")
    at = content.index(b"ds64") + 8
    long = content[:at] + struct.pack("<QQQ", size, size, size) + content[at + 24 :]
    (tmp_path / "rf64.wav").write_bytes(long)
    _, content = wav(form="CAF")
    at = content.index(b"data") + 4
    (tmp_path / "a.caf").write_bytes(content[:at] + b"\xff" * 8 + content[at + 8 :])
    _, content = wav(form="AU")
    (tmp_path / "a.au").write_bytes(content[:8] + b"\xff" * 4 + content[12:])
    _, content = wav(form="FLAC")  # 36 bits of STREAMINFO
    known = int.from_bytes(content[18:26], "big") >> 36 << 36
    (tmp_path / "a.flac").write_bytes(content[:18] + known.to_bytes(8, "big") + content[26:])
    for path in tmp_path.iterdir():
        np.testing.assert_allclose(read_audio(path)[: len(wave)], wave, atol=2**-15)
        part = read_audio(path, (0.25, 0.375))
        np.testing.assert_allclose(part, wave[4000:6000], atol=2**-15)
        with pytest.raises(BadAudio, match="too long"):
            read_audio(path, max_seconds=0.1)
        with pytest.raises(BadAudio, match="the segment ends at"):
            read_audio(path, (0.25, 0.75))


def test_integers_written_as_floats_are_refused(tmp_path: Path) -> None:
    """Else 16-bit files of them hold full-scale noise."""
    wave = tone(0.5)
    for subtype in ("FLOAT", "DOUBLE"):
        path = write(tmp_path / "a.wav", wave * 32768, subtype=subtype)
        with pytest.raises(BadAudio, match="16-bit values written as floats; divide them by 32768"):
            read_audio(path)
        loud = write(tmp_path / "b.wav", wave * 20, subtype=subtype)  # a hot mix
        np.testing.assert_allclose(read_audio(loud), wave * 20, rtol=1e-6)
        assert "beyond full scale" in read_with_remarks(loud)[1][0]


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"]
)
def test_every_width_has_the_same_scale(tmp_path: Path, subtype: str) -> None:
    wave = tone(0.5)
    got = read_audio(write(tmp_path / "a.wav", wave, subtype=subtype))
    np.testing.assert_allclose(got, wave, atol=2**-7 if subtype in ("PCM_U8", "ULAW") else 2**-15)


def test_what_is_odd_is_said(tmp_path: Path) -> None:
    left = tone(0.5)
    for wave, remark in [
        (np.zeros(8000, np.float32), "digital silence"),
        (np.full(8000, 0.25, np.float32), "no sound but a constant"),
        (np.stack([left, -left], axis=1), "2 channels cancel each other"),
        (np.stack([left, -left, left, -left], axis=1), "4 channels cancel each other"),
        (left, None),
        (np.stack([left, 0 * left], axis=1), None),
    ]:
        remarks = read_with_remarks(write(tmp_path / "a.wav", wave, subtype="FLOAT"))[1]
        assert (remark in remarks[0]) if remark else not remarks


def test_overshoot_of_resampling_is_cut_off_not_wrapped(tmp_path: Path) -> None:
    square = np.where(np.arange(24000) // 50 % 2, 1.0, -1.0).astype(np.float32)
    got = read_audio(write(tmp_path / "a.wav", square, 48000, subtype="FLOAT"))
    assert 1.0 < np.abs(got).max() < 1.5
    stored, _ = soundfile.read(write(tmp_path / "b.flac", got, subtype="PCM_16"), dtype="float32")
    np.testing.assert_allclose(stored, np.clip(got, -1, 1), atol=2**-14)


class Failing(io.BytesIO):
    """A file on a disk that fails, or on a server that has forgotten it."""

    def __init__(self, content: bytes, error: Exception, good: int = 64):
        super().__init__(content)
        self.error, self.good = error, good

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self.good or size is None or size < 0 or size > 64:
            raise self.error
        return super().read(size)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EIO, os.strerror(errno.EIO)), "Input/output error"),
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE)), "Stale file handle"),
        (PermissionError(errno.EACCES, "Permission denied"), "no permission"),
        (OSError("a message alone"), "a message alone"),
        (MemoryError(), "more memory"),
        (RecursionError("deep"), "nested too deeply"),
        (EOFError(), "EOFError"),
        (struct.error("unpack"), "unpack"),
    ],
)
@pytest.mark.parametrize("when", ["open", "read"])
def test_a_file_that_cannot_be_read_is_bad_audio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, when: str
) -> None:
    path = write(tmp_path / "a.wav", tone(0.1))

    def fail(name: Any) -> Any:
        if when == "open":
            raise error
        return Failing(path.read_bytes(), error, 0)

    monkeypatch.setattr(storage, "open_input", fail)
    for read, spec in [(read_audio, path), (read_audio, f"{path}.ark:7"), (read_matrix, "f.ark:7")]:
        with pytest.raises(BadAudio, match=reason):
            read(spec)


def test_too_many_open_files_are_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(storage, "open_input", fail)
    with pytest.raises(UserError, match="ulimit -n"):
        read_audio(write(tmp_path / "a.wav", tone(0.1)))


def test_names_that_no_file_has(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"\x01\x00" * 999)
    for spec, reason in [
        (f"{tmp_path}/a.raw", "without a header"),
        ("a\0b.wav", "null"),
        ("x" * 5000, "too long"),
        (f"{'x' * 5000}:1", "too long"),
        (f"{tmp_path}/a.raw/b.wav", "Not a directory"),
    ]:
        with pytest.raises(BadAudio, match=reason):
            read_audio(spec)
