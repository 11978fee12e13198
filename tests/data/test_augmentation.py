"""More speech of little: what is copied and joined, how long it is, how it sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.bin.part_augment_data import main
from espnet_part.data.audio import read_audio
from espnet_part.data.augmentation import PAUSE, _cut, augment_directory, read_factors
from espnet_part.data.datadir import DataDir, Example
from espnet_part.errors import ConfigError, DataError

RATE = 16000


def tone(hertz: float, seconds: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype("f4")


def pitch(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * RATE / len(samples))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six German clips of one speaker, one of them translated, one Chinese pair, and a text."""
    examples = []
    for number, seconds in enumerate((1.0, 1.5, 2.0, 0.8, 1.2, 9.0)):
        audio = tmp_path / f"{number}.wav"
        soundfile.write(audio, tone(200 + 100 * number, seconds), RATE)
        heard = {"audio": str(audio), "num_samples": round(seconds * RATE), "spk": "anna"}
        examples.append(Example(f"u{number}", "asr", "de", "de", f"wort {number}", **heard))  # type: ignore[arg-type]
        if number == 0:
            examples.append(Example("s0", "s2tt", "de", "en", "word 0", **heard))  # type: ignore[arg-type]
        if number > 3:
            examples.append(Example(f"z{number}", "asr", "zh", "zh", "你好", **heard))  # type: ignore[arg-type]
    examples.append(Example("t", "t2tt", "de", "en", "word", src_text="Wort"))
    DataDir.write(tmp_path / "data", examples)
    return tmp_path / "data"


def test_copies_at_other_speeds_are_espnets(data: Path, tmp_path: Path) -> None:
    found = {e.utt_id: e for e in augment_directory(data, tmp_path / "sp", [0.9, 1.0, 1.1], nj=2)}
    before = {e.utt_id: e for e in DataDir.load(data)[0]}
    assert {utt: found[utt] for utt in before} == before
    spoken = [utt for utt, e in before.items() if e.audio]
    assert set(found) == set(before) | {f"sp{f}-{utt}" for f in (0.9, 1.1) for utt in spoken}
    for factor in (0.9, 1.1):
        for utt in ("u0", "u5"):
            copy = found[f"sp{factor}-{utt}"]
            samples = read_audio(copy)
            assert copy.num_samples == len(samples)
            assert len(samples) == pytest.approx((before[utt].num_samples or 0) / factor, abs=1)
            assert pitch(samples) == pytest.approx(
                factor * pitch(read_audio(before[utt])), rel=0.01
            )
            assert (copy.text, copy.spk) == (before[utt].text, f"sp{factor}-anna")
        # tasks that share a recording share its copy
        assert found[f"sp{factor}-u0"].audio == found[f"sp{factor}-s0"].audio
    again, faults = DataDir.load(tmp_path / "sp")
    assert not faults and sorted(e.utt_id for e in again) == sorted(found)


def test_joined_utterances_are_their_parts_behind_one_another(data: Path, tmp_path: Path) -> None:
    found = augment_directory(data, tmp_path / "joined", join_seconds=3.0)
    before = {e.utt_id: e for e in DataDir.load(data)[0]}
    joined = [e for e in found if e.utt_id not in before]
    assert joined and all(e.task == "asr" and e.lang == "de" for e in joined)
    used = []
    for example in joined:
        parts = [before[f"u{word}"] for word in example.text.split() if word != "wort"]
        assert example.text == " ".join(part.text for part in parts) and len(parts) > 1
        used += [part.utt_id for part in parts]
        expected = np.concatenate(
            [np.append(read_audio(p), np.zeros(round(PAUSE * RATE))) for p in parts]
        )[: -round(PAUSE * RATE)]
        np.testing.assert_allclose(read_audio(example), expected, atol=1e-4)
        assert example.num_samples == len(expected) <= 3 * RATE
    assert len(set(used)) == len(used) and "u5" not in used  # it is long enough by itself
    other = augment_directory(data, tmp_path / "other", join_seconds=3.0, seed=1)
    same = augment_directory(data, tmp_path / "same", join_seconds=3.0)
    texts = [[e.text for e in made if e.utt_id not in before] for made in (found, same, other)]
    assert texts[0] == texts[1] != texts[2]


def test_languages_without_spaces_are_joined_without(data: Path, tmp_path: Path) -> None:
    found = augment_directory(data, tmp_path / "joined", join_seconds=10.5)
    assert [e.text for e in found if e.lang == "zh" and e.utt_id.startswith("join")] == ["你好你好"]


@given(st.lists(st.floats(0.1, 5.0), max_size=30), st.floats(0.5, 20.0))
def test_runs_are_short_enough_and_hold_nothing_twice(lengths: list[float], seconds: float) -> None:
    members = [
        Example(str(n), "asr", "de", "de", "x", num_samples=round(length * RATE))
        for n, length in enumerate(lengths)
    ]
    runs = list(_cut(members, seconds))
    order = [int(e.utt_id) for run in runs for e in run]
    assert order == sorted(set(order))
    for run in runs:
        total = sum((e.num_samples or 0) / RATE for e in run) + PAUSE * (len(run) - 1)
        assert len(run) > 1 and total <= seconds + 1e-6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.9 1.1", "must hold 1.0"),
        ("1 x", "no list of numbers"),
        ("1 1.0000001", "twice"),
        ("1 9", "9 is not"),
        ("1 nan", "nan is not"),
    ],
)
def test_wrong_factors_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_factors(text)
    assert read_factors("") == [] and read_factors("0.9 1.0 1.1") == [0.9, 1.0, 1.1]


def test_a_set_that_was_augmented_is_not_augmented_again(data: Path, tmp_path: Path) -> None:
    augment_directory(data, tmp_path / "once", [1.0, 1.1])
    with pytest.raises(DataError, match=r"has sp1.1-s0 already"):
        augment_directory(tmp_path / "once", tmp_path / "twice", [1.0, 1.1])
    assert not (tmp_path / "twice").exists()


def test_the_command(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sp"
    main(["--in_dir", str(data), "--out_dir", str(out), "--speed_perturb_factors", "1.0 1.1"])
    assert "examples, 0.0" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--in_dir", str(data), "--out_dir", str(data), "--join_seconds", "2"])
    assert "must be another one" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--in_dir", str(data), "--out_dir", str(out), "--join_seconds", "-1"])
    assert "--join_seconds must be between" in capsys.readouterr().err
