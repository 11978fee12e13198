from __future__ import annotations

import os
import pickle

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_part.data.audio import BadAudio, read_audio, read_matrix
from espnet_part.data.datadir import Example
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
        (".", "not a regular file"),
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
