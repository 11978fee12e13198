from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_part.bin.part_format_data import main
from espnet_part.data import audio_jobs, tables
from espnet_part.data.audio import read_audio
from espnet_part.data.datadir import DataDir, Example
from espnet_part.data.formatting import Formatting
from tests.data.conftest import make_examples, tone


@pytest.fixture
def examples(tmp_path):
    """Sound examples, and one of every kind of bad audio (`x_…`)."""
    audio = tmp_path / "audio"
    good = [dataclasses.replace(e, num_samples=None) for e in make_examples(audio, 18, 4)]
    soundfile.write(audio / "stereo.wav", np.stack([tone(0.5)] * 2, axis=1), 16000)
    soundfile.write(audio / "8k.wav", tone(0.5, 8000), 8000)
    soundfile.write(audio / "48k.flac", tone(0.5, 48000), 48000)
    good += [
        Example(f"{name}-asr-de", "asr", "de", "de", "x", audio=str(audio / name))
        for name in ("stereo.wav", "8k.wav", "48k.flac")
    ]
    # the same audio in two tasks, and a cut piece
    good.append(Example("stereo-s2tt-en", "s2tt", "de", "en", "x", audio=good[-3].audio))
    good.append(
        Example("cut", "asr", "de", "de", "x", audio=good[-2].audio, segment=(0.125, 0.375))
    )
    return good


BAD = {
    "x_missing": "missing file",
    "x_empty": "empty file",
    "x_junk": "not readable",
    "x_truncated": "truncated",
    "x_zero": "no samples",
    "x_nan": "not finite",
}


def add_bad(examples, audio):
    (audio / "x_empty.wav").touch()
    (audio / "x_junk.wav").write_bytes(b"junk" * 9)
    soundfile.write(audio / "x_truncated.wav", tone(1.0), 16000)
    whole = (audio / "x_truncated.wav").read_bytes()
    (audio / "x_truncated.wav").write_bytes(whole[:9000])
    soundfile.write(audio / "x_zero.wav", np.zeros(0, np.float32), 16000)
    soundfile.write(audio / "x_nan.wav", np.full(99, np.nan, np.float32), 16000, subtype="FLOAT")
    return examples + [
        Example(name, "asr", "de", "de", "x", audio=str(audio / f"{name}.wav")) for name in BAD
    ]


def run(tmp_path, examples, *options, out="out"):
    DataDir.write(tmp_path / "in", examples)
    main(["--in_dir", str(tmp_path / "in"), "--out_dir", str(tmp_path / out), *options])
    formatted, faults = DataDir.load(tmp_path / out)
    assert not faults
    return {e.utt_id: e for e in formatted}


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_audio_becomes_16_khz_mono_files(tmp_path, examples, audio_format):
    formatted = run(tmp_path, examples, "--audio_format", audio_format, "--nj", "2")
    assert formatted.keys() == {e.utt_id for e in examples}
    for example in examples:
        new = formatted[example.utt_id]
        if example.audio is None:
            assert new == example
            continue
        info = soundfile.info(new.audio)
        assert (info.samplerate, info.channels) == (16000, 1)
        assert info.frames == new.num_samples
        assert new.segment is None
        np.testing.assert_allclose(
            soundfile.read(new.audio, dtype="float32")[0], read_audio(example), atol=2**-14
        )
    assert formatted["stereo.wav-asr-de"].audio == formatted["stereo-s2tt-en"].audio
    assert formatted["cut"].num_samples == 4000


def test_copy_leaves_the_audio_where_it_is(tmp_path, examples):
    formatted = run(tmp_path, examples, "--audio_format", "copy", "--nj", "1")
    assert not (tmp_path / "out" / "audio").exists()
    for example in examples:
        new = formatted[example.utt_id]
        count = None if example.audio is None else len(read_audio(example))
        assert new == dataclasses.replace(example, num_samples=count)


def test_bad_audio_is_named_and_left_out(tmp_path, examples, capsys):
    formatted = run(
        tmp_path, add_bad(examples, tmp_path / "audio"), "--max_bad_share", "0.3", "--nj", "2"
    )
    assert formatted.keys() == {e.utt_id for e in examples}
    rows = (tmp_path / "out" / "bad_audio.tsv").read_text().splitlines()
    named = dict(row.split("\t") for row in rows)
    assert named.keys() == BAD.keys()
    for utt, reason in BAD.items():
        assert reason in named[utt]
    assert "WARNING: 6 faults" in capsys.readouterr().err


def test_too_much_bad_audio_is_an_error(tmp_path, examples, capsys):
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, add_bad(examples, tmp_path / "audio"), "--nj", "1")
    assert stop.value.code == 1
    error = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(error) == 1 and "6 of 33 utterances are unusable" in error[0]
    assert len((tmp_path / "out" / "bad_audio.tsv").read_text().splitlines()) == 6
    assert not (tmp_path / "out" / "utt2task").exists()


def test_done_work_is_not_done_again(tmp_path, examples, processed):
    first = run(tmp_path, examples, "--nj", "1")
    assert len(processed()) == 22  # pieces of audio
    assert run(tmp_path, examples, "--nj", "1") == first
    assert processed() == []
    # a run that was killed while it wrote a journal
    journal = max((tmp_path / "out" / ".formatted").iterdir(), key=lambda path: path.stat().st_size)
    lines = journal.read_text().splitlines()
    assert json.loads(lines[0])
    journal.write_text("\n".join([*lines[:-1], lines[-1][:5]]))
    assert run(tmp_path, examples, "--nj", "1") == first
    assert len(processed()) == 1
    # a lost file, a new source
    (tmp_path / "out" / first["8k.wav-asr-de"].audio).unlink()
    soundfile.write(tmp_path / "audio" / "0.wav", tone(0.3), 16000)
    again = run(tmp_path, examples, "--nj", "1")
    assert len(processed()) == 2
    assert [utt for utt in first if again[utt] != first[utt]] == ["es_000-s2tt-en"]
    assert again["es_000-s2tt-en"].num_samples == 4800


@pytest.fixture
def processed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Returns what audio was processed since it was asked last, by whatever process."""
    process, done = audio_jobs.process_audio, tmp_path / "processed"

    def noting(job: audio_jobs.AudioJob, *words: Path) -> audio_jobs.AudioResult:
        with done.open("a") as file:
            file.write(f"{job.audio}\n")
        return process(job, *words)

    def since() -> list[str]:
        found = done.read_text().splitlines() if done.exists() else []
        done.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(audio_jobs, "process_audio", noting)
    return since


@pytest.fixture
def loud(tmp_path: Path) -> Callable[..., float]:
    """Formats one utterance made from a recording of a loudness; returns that of what there is then."""

    def make(level: float, utt_id: str = "u1", more: str = "", more_level: float = 0.5) -> float:
        levels = {utt_id: level, **({more: more_level} if more else {})}
        examples = []
        for name, value in levels.items():
            source = tmp_path / f"{value}.wav"
            if not source.exists():
                soundfile.write(source, np.full(int(16000 * value), value), 16000)
            examples.append(Example(name, "asr", "de", "de", "x", audio=str(source)))
        new = run(tmp_path, examples, "--nj", "1")[utt_id]
        samples = soundfile.read(new.audio)[0]
        assert len(samples) == new.num_samples
        return round(float(samples.max()), 2)

    return make


def test_audio_is_of_the_source_that_is_named_now(loud: Callable[..., float]) -> None:
    assert [loud(level) for level in (0.1, 0.5, 0.1)] == [0.1, 0.5, 0.1]
    # two sources whose names are exchanged, and again
    both = [("u1", "u2"), ("u2", "u1"), ("u1", "u2")]
    for of_x, of_y in both:
        assert loud(0.1, of_x, of_y, 0.5) == 0.1
        assert loud(0.5, of_y, of_x, 0.1) == 0.5


def test_a_kill_after_audio_was_replaced(
    loud: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loud(0.1) == 0.1
    process = audio_jobs.process_audio

    def killed(job: audio_jobs.AudioJob, aside: Path) -> audio_jobs.AudioResult:
        process(job, aside)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(audio_jobs, "process_audio", killed)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            loud(0.5)
    assert loud(0.1) == 0.1


def test_a_line_of_a_journal_that_is_none_is_passed_over(
    loud: Callable[..., float], tmp_path: Path
) -> None:
    assert loud(0.1) == 0.1
    (journal,) = (tmp_path / "out" / ".formatted").iterdir()
    key, *rest = json.loads(journal.read_text())
    journal.write_text(f"{json.dumps([key, '7', *rest[1:]])}\n[[]]\n{{}}\n")
    assert loud(0.1) == 0.1


@pytest.fixture
def splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small directories have several ranges, and splits."""
    monkeypatch.setattr(tables, "RANGE", 4)
    monkeypatch.setattr(Formatting, "least", 4)


@pytest.mark.usefixtures("splits")
@pytest.mark.parametrize("nj", ["1", "3"])
def test_audio_is_done_once_however_far_apart_its_examples_are(
    tmp_path: Path, processed: Callable[[], list[str]], nj: str
) -> None:
    made = make_examples(tmp_path / "audio", 12, 0)
    examples = [
        dataclasses.replace(e, utt_id=f"{task}-{n:02d}", segment=segment)
        for n, e in enumerate(made)
        for task, segment in [("asr", None), ("cut1", (0.0, 0.05)), ("cut2", (0.0, 0.05))]
    ]
    examples += [dataclasses.replace(e, utt_id=f"st-{n:02d}") for n, e in enumerate(made)]
    formatted = run(tmp_path, examples, "--nj", nj)
    assert len(processed()) == 2 * len(made)
    for n in range(len(made)):
        whole, one, other, translated = (
            formatted[f"{task}-{n:02d}"] for task in ("asr", "cut1", "cut2", "st")
        )
        assert whole.audio == translated.audio and Path(str(whole.audio)).stem == whole.utt_id
        assert one.audio == other.audio and Path(str(one.audio)).stem == one.utt_id
        assert one.num_samples == 800 != whole.num_samples == translated.num_samples


@pytest.mark.usefixtures("splits")
def test_a_kill_and_another_number_of_jobs(
    tmp_path: Path,
    examples: list[Example],
    processed: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noting = audio_jobs.process_audio
    left = iter(range(3))

    def dying(job: audio_jobs.AudioJob, aside: Path) -> audio_jobs.AudioResult:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return noting(job, aside)

    DataDir.write(tmp_path / "in", examples)
    words = ["--in_dir", str(tmp_path / "in"), "--out_dir", str(tmp_path / "out")]
    main([*words, "--nj", "3", "--job", "2"])
    with monkeypatch.context() as patch:
        patch.setattr(audio_jobs, "process_audio", dying)
        with pytest.raises(SystemExit) as stop:
            main([*words, "--nj", "1"])
    assert stop.value.code == 130
    after = run(tmp_path, examples, "--nj", "2")
    pieces = {(e.audio, e.segment) for e in examples if e.audio}
    assert sorted(processed()) == sorted(audio for audio, _ in pieces)
    assert after.keys() == {e.utt_id for e in examples}
    hidden = {path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")}
    assert hidden == {".formatted"}


@pytest.mark.usefixtures("splits")
def test_too_many_bad_ones_of_several_splits_and_once_they_are_mended(
    tmp_path: Path,
    examples: list[Example],
    processed: Callable[[], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    audio = tmp_path / "audio"
    spoiled = add_bad(examples, audio)
    DataDir.write(tmp_path / "in", spoiled)
    words = ["--in_dir", str(tmp_path / "in"), "--out_dir", str(tmp_path / "out"), "--nj", "3"]
    for job in ("1", "2", "3"):  # none of them knows of the others
        main([*words, "--job", job])
    assert len(processed()) > 20
    with pytest.raises(SystemExit):
        main(words)
    assert processed() == []
    assert "6 of 33 utterances are unusable" in capsys.readouterr().err
    named = (tmp_path / "out/bad_audio.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in named] == sorted(BAD)
    assert not (tmp_path / "out/utt2task").exists()
    for name in BAD:
        soundfile.write(audio / f"{name}.wav", tone(0.4), 16000)
    assert run(tmp_path, spoiled, "--nj", "3").keys() == {e.utt_id for e in spoiled}
    assert sorted(Path(path).stem for path in processed()) == sorted(BAD)


def test_the_same_directory_and_wrong_options(tmp_path, examples, capsys):
    DataDir.write(tmp_path / "in", examples)
    same = str(tmp_path / "in")
    for options, code in [
        (["--in_dir", same, "--out_dir", same], 1),
        (["--in_dir", same, "--out_dir", str(tmp_path / "o"), "--max_bad_share", "7"], 2),
        (["--in_dir", str(tmp_path / "none"), "--out_dir", str(tmp_path / "o")], 1),
        # whatever reads the result reads 16 kHz
        (["--in_dir", same, "--out_dir", str(tmp_path / "o"), "--fs", "8000"], 2),
    ]:
        with pytest.raises(SystemExit) as stop:
            main(options)
        assert stop.value.code == code
    assert "missing directory" in capsys.readouterr().err


def test_directory_that_cannot_be_written(tmp_path, examples, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "audio").write_text("a file where the audio should go")
    with pytest.raises(SystemExit):
        run(tmp_path, examples, "--nj", "1")
    assert "cannot be written" in capsys.readouterr().err


def test_test_set_without_references(tmp_path, examples):
    silent = [dataclasses.replace(e, text="") for e in examples]
    DataDir.write(tmp_path / "in", silent)
    main(["--in_dir", str(tmp_path / "in"), "--out_dir", str(tmp_path / "out"), "--nj", "1"])
    assert not (tmp_path / "out" / "text").exists()
    formatted, faults = DataDir.load(tmp_path / "out", need_text=False)
    assert len(formatted) == len(examples) and not faults


def test_clips_as_common_voice_has_them(tmp_path, processed):
    """48 kHz MP3 left where it is; what cannot be used is found, in several processes, and once."""
    audio = tmp_path / "clips"
    audio.mkdir()
    examples = []
    for number in range(40):
        path = audio / f"c{number:02d}.mp3"
        soundfile.write(path, tone(0.5 + number / 100, 48000), 48000)
        examples.append(Example(f"c{number:02d}", "asr", "de", "de", "x", audio=str(path)))
    whole = (audio / "c00.mp3").read_bytes()
    for name, content in (("c36", b""), ("c37", b"<html>"), ("c38", whole[: len(whole) // 2])):
        (audio / f"{name}.mp3").write_bytes(content)
    (audio / "c39.mp3").unlink()
    options = ("--audio_format", "copy", "--nj", "2", "--max_bad_share", "0.2")
    formatted = run(tmp_path, examples, *options)
    assert sorted(formatted) == [f"c{number:02d}" for number in range(36)]
    for number in range(36):
        assert formatted[f"c{number:02d}"].num_samples == round((0.5 + number / 100) * 16000)
    rows = (tmp_path / "out/bad_audio.tsv").read_text().splitlines()
    named = dict(row.split("\t") for row in rows)
    assert named["c36"] == "empty file"
    assert named["c37"].startswith("not readable as audio")
    assert named["c38"].startswith("truncated")
    assert named["c39"] == "missing file"
    assert not (tmp_path / "out/audio").exists()

    processed()
    assert run(tmp_path, examples, *options) == formatted
    assert sorted(processed()) == [str(audio / f"c{number}.mp3") for number in (36, 37, 38, 39)]


def test_a_full_disk_is_named(tmp_path, examples, capsys, monkeypatch):
    process = audio_jobs.process_audio

    def full(job, aside):
        (aside / "audio").symlink_to("/dev/full")
        return process(job, aside)

    monkeypatch.setattr(audio_jobs, "process_audio", full)
    with pytest.raises(SystemExit):
        run(tmp_path, examples, "--nj", "1")
    (said,) = (line for line in capsys.readouterr().err.splitlines() if "error:" in line)
    written = Path(said.split("error: ")[1].split(": cannot")[0])
    assert said.endswith(f"error: {written}: cannot be written: No space left on device")
    assert written.suffix == ".flac" and not written.exists()
