"""Any audio file in blocks, against reading it whole."""

import contextlib
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.data.audio import BadAudio, read_audio
from espnet_part.decode.audio_file import find_audio, probe_duration, read_blocks
from tests.memory import peak_memory

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


def tone(seconds, rate=16000, channels=1):
    """Each channel has a frequency of its own."""
    time = np.arange(round(seconds * rate)) / rate
    columns = [0.3 * np.sin(2 * np.pi * (300 + 200 * n) * time) for n in range(channels)]
    return np.stack(columns, axis=1).astype(np.float32)


def read(path, seconds=0.7):
    return np.concatenate(list(read_blocks(path, seconds)))


def convert(source, target, *options):
    command = ["ffmpeg", "-loglevel", "error", "-y", "-i", str(source), *options, str(target)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return target


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_number_of_channels(tmp_path, rate, channels):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(2.3, rate, channels), rate)
    whole = read_audio(path)
    blocks = read(path)
    assert blocks.dtype == np.float32 and len(blocks) == len(whole)
    np.testing.assert_allclose(blocks, whole, atol=2e-4)
    assert probe_duration(path) == pytest.approx(2.3, abs=1e-3)


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3", "aiff", "au", "caf", "w64"])
def test_formats_of_libsndfile(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(2.0, 44100, 2), 44100)
    np.testing.assert_allclose(read(path), read_audio(path), atol=1e-3)


@given(seconds=st.floats(0.01, 3.0))
@settings(max_examples=15, deadline=None)
def test_the_length_of_a_block_changes_nothing(tmp_path_factory, seconds):
    path = tmp_path_factory.getbasetemp() / "blocks.flac"
    if not path.exists():
        soundfile.write(path, tone(1.9, 22050), 22050)
    np.testing.assert_allclose(read(path, seconds), read(path, 60.0), atol=1e-5)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["m4a", "webm", "mp4", "wma", "aac", "mkv"])
def test_formats_of_ffmpeg(tmp_path, suffix):
    soundfile.write(tmp_path / "a.wav", tone(5.0, 44100, 2), 44100)
    path = convert(tmp_path / "a.wav", tmp_path / f"-a b:c.{suffix}")
    samples = read(path)
    assert len(samples) / 16000 == pytest.approx(5.0, abs=0.15)
    # lossy and with a delay: the sound is the same, sample for sample it is not
    spectrum = np.abs(np.fft.rfft(samples[16000:48000]))
    assert {int(f) for f in np.argsort(spectrum)[-2:] * 0.5} == {300, 500}
    if suffix != "aac":  # its header does not say
        assert probe_duration(path) == pytest.approx(5.0, abs=0.15)


@needs_ffmpeg
def test_sound_that_ends_before_the_pictures_is_whole(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(3.0), 16000)
    pictures = ["-f", "lavfi", "-t", "9", "-i", "color=s=16x16:r=5"]
    path = convert(tmp_path / "a.wav", tmp_path / "a.mp4", *pictures, "-c:v", "mpeg4")
    assert probe_duration(path) == pytest.approx(9.0, abs=0.3)
    assert len(read(path)) / 16000 == pytest.approx(3.0, abs=0.15)


def cut_off(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au", "w64"])
def test_truncated_files(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    rng = np.random.default_rng(0)
    soundfile.write(path, 0.1 * rng.standard_normal(60000), 16000)
    cut_off(path)
    with pytest.raises(BadAudio):
        read(path)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("suffix", "options"), [("m4a", ()), ("m4a", ("-movflags", "+faststart")), ("webm", ())]
)
def test_truncated_files_of_ffmpeg(tmp_path, suffix, options):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.standard_normal(320000), 16000)
    path = cut_off(convert(tmp_path / "a.wav", tmp_path / f"a.{suffix}", *options))
    with pytest.raises(BadAudio, match=r"truncated: .* 20\.0 s|moov atom not found"):
        read(path)


def test_bad_files(tmp_path):
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "junk.wav").write_bytes(b"junk" * 500)
    soundfile.write(tmp_path / "zero.wav", np.zeros(0, np.float32), 16000)
    nan = np.full(99, np.nan, np.float32)
    soundfile.write(tmp_path / "nan.wav", nan, 16000, subtype="FLOAT")
    for name, reason in [
        ("none.wav", "missing file"),
        ("empty.mp3", "empty file"),
        ("junk.wav", "not readable as audio"),
        ("zero.wav", "no samples"),
        ("nan.wav", "not finite"),
    ]:
        with pytest.raises(BadAudio, match=reason):
            read(tmp_path / name)
        if name != "nan.wav":
            with pytest.raises(BadAudio, match=reason):
                probe_duration(tmp_path / name)


def test_without_ffmpeg_the_user_is_told_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " * 9)
    monkeypatch.setenv("PATH", str(tmp_path))
    for function in (probe_duration, read):
        with pytest.raises(BadAudio, match="install ffmpeg"):
            function(tmp_path / "a.m4a")


@needs_ffmpeg
def test_a_playlist_cannot_open_addresses(tmp_path):
    """A file that says where the audio is, in place of audio, reaches no network."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        path = tmp_path / "a.m4a"
        path.write_text(
            "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n"
            f"http://127.0.0.1:{server.getsockname()[1]}/a.ts\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(BadAudio):
            read(path)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody waits to be answered
            server.accept()


@needs_ffmpeg
@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
    ],
)
def test_a_playlist_cannot_open_other_files(tmp_path, content):
    """Whoever may have a file transcribed hears no other."""
    soundfile.write(tmp_path / "private.mp3", tone(2.0), 16000)
    (tmp_path / "a.m4a").write_text(content.format("private.mp3"))
    for function in (probe_duration, read):
        with pytest.raises(BadAudio, match="not readable as audio"):
            function(tmp_path / "a.m4a")


def test_a_header_cannot_ask_for_more_memory_than_there_is(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(0.1), 2_000_000_000)
    with peak_memory() as peak:
        with contextlib.suppress(BadAudio):
            read(tmp_path / "a.wav", 10.0)
        assert peak() < 200e6


@needs_ffmpeg
def test_ffmpeg_ends_when_nobody_reads_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", tone(60.0), 16000)
    path = convert(tmp_path / "a.wav", tmp_path / "a.m4a")
    started: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    blocks = read_blocks(path, 0.1)
    next(blocks)
    writing = started[-1]
    assert writing.poll() is None
    blocks.close()
    assert writing.returncode == -signal.SIGKILL


def test_directories_are_searched_in_order(tmp_path):
    for name in (
        "b/2.wav",
        "b/10.MP3",
        "a.flac",
        "b/notes.txt",
        "b/._2.wav",
        ".x/3.wav",
        "c/d/e.m4a",
    ):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "talk.bin").touch()
    (tmp_path / "empty").mkdir()
    root = tmp_path / "in"
    found, bad = find_audio(
        [tmp_path / "talk.bin", root, root / "b" / "2.wav", tmp_path / "none", tmp_path / "empty"]
    )
    assert [(path.relative_to(tmp_path).as_posix(), name.as_posix()) for path, name in found] == [
        ("talk.bin", "talk.bin"),
        ("in/a.flac", "a.flac"),
        ("in/b/10.MP3", "b/10.MP3"),
        ("in/b/2.wav", "b/2.wav"),
        ("in/c/d/e.m4a", "c/d/e.m4a"),
    ]
    assert [(path.name, reason) for path, reason in bad] == [
        ("none", "no such file or directory"),
        ("empty", "no audio file in this directory"),
    ]


def test_a_directory_that_cannot_be_searched_is_named(tmp_path, monkeypatch):
    import os

    (tmp_path / "in" / "shut").mkdir(parents=True)
    (tmp_path / "in" / "a.wav").touch()
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, bad = find_audio([tmp_path / "in"])
    assert [name.name for _, name in found] == ["a.wav"]
    assert bad == [(tmp_path / "in" / "shut", "cannot be searched: Permission denied")]
