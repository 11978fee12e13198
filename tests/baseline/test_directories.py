"""Selection of what a stock ESPnet task reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_part.baseline.directories import main, select, why_unreadable
from espnet_part.data.datadir import DataDir, Example
from espnet_part.errors import DataError


def example(utt: str, task: str, lang: str, tgt: str, text: str, **more: str | None) -> Example:
    return Example(utt, task, lang, tgt, text, **{"audio": f"{utt.split('-')[0]}.wav", **more})


def mixture() -> list[Example]:
    return [
        example("u2-asr", "asr", "en", "en", "good day"),
        example("u1-asr", "asr", "de", "de", "guten Tag"),
        example("u1-s2tt-en", "s2tt", "de", "en", "good day", src_text="guten Tag!"),
        example("u2-s2tt-de", "s2tt", "en", "de", "guten Tag"),
        example("t1-t2tt-de", "t2tt", "en", "de", "Tag", audio=None, src_text="day"),
    ]


def ids(examples: list[Example]) -> list[str]:
    return [example.utt_id for example in examples]


def test_each_task_gets_its_own_examples() -> None:
    assert ids(select(mixture(), "asr", True, "d").examples) == ["u1-asr", "u2-asr"]
    assert ids(select(mixture(), "st", True, "d").examples) == ["u1-s2tt-en", "u2-s2tt-de"]


def test_the_transcript_is_the_examples_own_or_that_of_the_same_audio() -> None:
    selection = select(mixture(), "st", True, "d")
    assert selection.sources == {
        "u1-s2tt-en": ("de", "guten Tag!"),
        "u2-s2tt-de": ("en", "good day"),
    }


def test_training_leaves_out_what_has_no_text_and_says_so() -> None:
    examples = [
        *mixture(),
        example("u3-asr", "asr", "de", "de", ""),
        example("u4-s2tt-en", "s2tt", "de", "en", "without a transcript"),
        example("u5-asr", "asr", "de", "de", "silent", audio=None),
    ]
    asr = select(examples, "asr", True, "d")
    assert asr.dropped == [("u3-asr", "no text"), ("u5-asr", "no audio")]
    assert select(examples, "st", True, "d").dropped == [("u4-s2tt-en", "no source text")]


def test_a_test_set_is_kept_whole() -> None:
    examples = [*mixture(), example("u4-s2tt-en", "s2tt", "de", "en", "")]
    selection = select(examples, "st", False, "d")
    assert len(selection.examples) == 3
    assert selection.dropped == []


def test_an_empty_task_is_refused() -> None:
    asr_only = [e for e in mixture() if e.task == "asr"]
    with pytest.raises(DataError, match=r"dump/x: no example of the task s2tt.*there is asr"):
        select(asr_only, "st", True, "dump/x")
    with pytest.raises(DataError, match="no usable example of the task asr: no text"):
        select([replace(e, text="") for e in asr_only], "asr", True, "dump/x")


def test_audio_that_espnet_would_misread_is_found(tmp_path: Path) -> None:
    good, fast, stereo = (str(tmp_path / name) for name in ("good.wav", "fast.wav", "stereo.wav"))
    soundfile.write(good, np.zeros(160), 16000)
    soundfile.write(fast, np.zeros(160), 48000)
    soundfile.write(stereo, np.zeros((160, 2)), 16000)
    sound = example("u-asr", "asr", "de", "de", "Tag", audio=good)
    assert why_unreadable([sound]) is None
    for bad, reason in (
        (replace(sound, audio=fast), "48000 Hz"),
        (replace(sound, audio=stereo), "2 channels"),
        (replace(sound, segment=(0.0, 0.1)), "segment of a longer file"),
        (replace(sound, audio=f"{good}.ark:17"), "neither wav nor flac"),
        (replace(sound, audio=f"{tmp_path}/none.wav"), "cannot be read"),
    ):
        assert reason in str(why_unreadable([sound, bad]))


def test_such_audio_is_made_readable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Segments of a long mp3 become flac files of their own; what is broken is named."""
    rng = np.random.default_rng(0)
    long, broken = tmp_path / "long.mp3", tmp_path / "broken.mp3"
    soundfile.write(long, 0.1 * rng.standard_normal(3 * 48000), 48000)
    broken.write_bytes(b"")
    examples = [
        example(f"u{n}-asr", "asr", "de", "de", f"Tag {n}", audio=str(long)) for n in range(3)
    ]
    examples = [replace(e, segment=(float(n), n + 0.5)) for n, e in enumerate(examples)]
    DataDir.write(
        tmp_path / "train",
        [*examples, example("b-asr", "asr", "de", "de", "kaputt", audio=str(broken))],
    )
    out = tmp_path / "out"
    options = ["--out_dir", str(out), "--formatted_dir", str(tmp_path / "audio")]
    main(["--task", "asr", "--in_dir", str(tmp_path / "train"), *options, "--max_bad_share", "0.3"])
    lines = [line.split() for line in (out / "wav.scp").read_text().splitlines()]
    assert [utt for utt, _ in lines] == ["u0-asr", "u1-asr", "u2-asr"]
    for _, path in lines:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.frames) == (16000, 1, 8000)
    printed = capsys.readouterr().out
    assert "as 16 kHz flac" in printed
    assert "1 utterances have bad audio" in printed


def test_an_id_of_two_directories_is_refused() -> None:
    with pytest.raises(DataError, match="the id u2-asr is given twice"):
        select([*mixture(), *mixture()], "asr", True, "d")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def spoken(utt: str, *rest: str, **more: str) -> Example:
        audio = str(tmp_path / f"{utt.split('-')[0]}.wav")
        soundfile.write(audio, np.zeros(16000), 16000)
        return replace(example(utt, *rest, **more), audio=audio, num_samples=16000)  # type: ignore[arg-type]

    DataDir.write(
        tmp_path / "one",
        [spoken("b-s2tt-en", "s2tt", "de", "en", "good day", src_text="guten Tag")],
    )
    DataDir.write(
        tmp_path / "two", [spoken("a-s2tt-de", "s2tt", "en", "de", "Tag", src_text="day")]
    )
    out = tmp_path / "out"
    directories = [str(tmp_path / "one"), str(tmp_path / "two")]
    main(["--task", "st", "--in_dir", *directories, "--out_dir", str(out)])
    assert (out / "text").read_text() == "a-s2tt-de <de> Tag\nb-s2tt-en <en> good day\n"
    assert (out / "src_text").read_text() == "a-s2tt-de <en> day\nb-s2tt-en <de> guten Tag\n"
    assert (out / "utt2tgt").read_text() == "a-s2tt-de de\nb-s2tt-en en\n"
    assert (out / "wav.scp").read_text().split()[0::2] == ["a-s2tt-de", "b-s2tt-en"]
    assert "2 examples of s2tt, 0.00 h, from" in capsys.readouterr().out
    assert (out / "summary.txt").read_text().startswith("2 examples of s2tt")
    with pytest.raises(SystemExit):
        main(["--task", "asr", "--in_dir", *directories, "--out_dir", str(out)])
    assert "no example of the task asr" in capsys.readouterr().err
