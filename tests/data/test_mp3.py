"""MP3 files that do not say how long they are, against ffmpeg's decoding."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.data.audio import BadAudio, open_sound, read_audio
from espnet_part.data.mp3 import CutMp3, with_length
from tests.memory import peak_memory

DELAY = 529  # samples of the decoder's delay, which libsndfile leaves out and ffmpeg keeps


def without_xing(content: bytes) -> bytes:
    """Take off the Xing or Info frame that libsndfile writes, and any tag before it."""
    at = max(content.find(b"Info"), content.find(b"Xing"))
    start = content.rfind(b"\xff", 0, at)
    following = content.find(content[start : start + 2], at)
    return content[following:]


def sweep(rate: int, seconds: float = 2.0) -> np.ndarray:
    """Something whose bit rate varies: noise, silence, noise."""
    noise = 0.2 * np.random.default_rng(0).standard_normal(int(rate * seconds))
    noise[len(noise) // 4 : -len(noise) // 4] = 0
    return noise


@pytest.mark.parametrize("rate", [48000, 44100, 32000, 22050, 16000, 8000])
@pytest.mark.parametrize("channels", [1, 2])
def test_intact_files_are_read_whole(tmp_path, rate, channels):
    path = tmp_path / "a.mp3"
    samples = np.stack([sweep(rate)] * channels, axis=1)
    soundfile.write(path, samples, rate)
    told = read_audio(path)
    bare = without_xing(path.read_bytes())
    path.write_bytes(bare)
    found = read_audio(path)
    # without the header, nobody knows where in the last two frames the speech ends
    assert len(told) == 2 * 16000
    assert 0 <= len(found) - len(told) < 3 * 1152 / rate * 16000
    for size in (len(bare) - 1, len(bare) - 20):  # a cut between frames leaves no trace
        path.write_bytes(bare[:size])
        with pytest.raises(BadAudio, match="truncated"):
            read_audio(path)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize(
    "options",
    [
        ("-b:a", "64k"),
        ("-q:a", "4"),
        ("-q:a", "4", "-id3v2_version", "0", "-write_id3v1", "1"),
        ("-b:a", "48k", "-ar", "22050"),
    ],
)
def test_what_ffmpeg_writes_to_a_pipe(tmp_path, options):
    soundfile.write(tmp_path / "a.wav", sweep(48000), 48000)
    call = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), "-c:a", "libmp3lame", *options]
    written = subprocess.run([*call, "-f", "mp3", "-"], check=True, capture_output=True).stdout
    path = tmp_path / "b.mp3"
    path.write_bytes(written)
    call = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "f32le", "-"]
    decoded = subprocess.run(call, check=True, capture_output=True).stdout
    expected = np.frombuffer(decoded, np.float32)[DELAY:]
    mended = with_length(io.BytesIO(written))
    assert mended is not None
    found, _ = soundfile.read(mended, dtype="float32")
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # which libsndfile by itself does not do
    assert soundfile.info(path).frames != len(found)
    rate = soundfile.info(path).samplerate
    assert len(read_audio(path)) == pytest.approx(len(found) * 16000 / rate, abs=2)


def test_segments_are_cut_at_their_place(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, sweep(16000), 16000)
    path.write_bytes(without_xing(path.read_bytes()))
    whole = read_audio(path)
    part = read_audio(path, (0.25, 0.75))
    np.testing.assert_allclose(part, whole[4000:12000], atol=1e-4)


def test_files_that_say_their_length_are_left_alone(tmp_path):
    for ending in ("mp3", "wav", "flac", "ogg"):
        path = tmp_path / f"a.{ending}"
        soundfile.write(path, sweep(16000), 16000)
        assert with_length(io.BytesIO(path.read_bytes())) is None


@settings(max_examples=300, deadline=None)
@given(
    junk=st.binary(max_size=200),
    start=st.sampled_from([b"", b"ID3", b"\xff\xfb\x90\xc4", b"\xff\xf3\x40\xc4"]),
)
def test_junk_is_no_mp3(junk, start):
    try:
        mended = with_length(io.BytesIO(start + junk))
    except CutMp3:
        return
    assert mended is None or len(mended.read()) > len(junk)


def test_junk_between_frames_is_left_to_the_decoder(tmp_path):
    path: Path = tmp_path / "a.mp3"
    soundfile.write(path, sweep(16000), 16000)
    content = without_xing(path.read_bytes())
    half = len(content) // 2
    assert with_length(io.BytesIO(content[:half] + b"junk" * 30 + content[half:])) is None


def test_hours_take_no_memory(tmp_path):
    path: Path = tmp_path / "a.mp3"
    soundfile.write(path, sweep(16000, 20.0), 16000)
    piece = without_xing(path.read_bytes())
    with path.open("wb") as file:
        for _ in range(200):
            file.write(piece)
    size = path.stat().st_size
    with peak_memory() as peak, open_sound(path) as sound:
        frames = sound.frames
        sound.read(16000)
        assert peak() < size / 4
    assert frames / 16000 == pytest.approx(200 * 20, rel=0.01)
