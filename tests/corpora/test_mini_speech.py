"""The embedded corpus's speech and data directories."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_part.corpora.mini import prepare as prepare_module
from espnet_part.corpora.mini.grammar import draw_frames, sentence
from espnet_part.corpora.mini.prepare import Options, main, prepare, targets
from espnet_part.corpora.mini.speech import (
    DEV_VARIANTS,
    ENCODER_VARIANTS,
    TEST_VARIANTS,
    TRAIN_VARIANTS,
    Delivery,
    Synthesizer,
)
from espnet_part.data.datadir import DataDir
from espnet_part.errors import ConfigError, DataError

SMALL = Options(
    langs=("en", "de", "es"),
    train_clips=8, dev_clips=4, test_clips=4, text_pairs=3, encoder_clips=10,
)  # fmt: skip


def speak(langs: tuple[str, ...]) -> list[np.ndarray]:
    rng = random.Random(0)
    voices = sorted({*TRAIN_VARIANTS, *DEV_VARIANTS, *TEST_VARIANTS, *ENCODER_VARIANTS})
    clips = []
    with Synthesizer() as synthesizer:
        for lang in langs:
            for number, frame in enumerate(islice(draw_frames("train", 0), len(voices))):
                delivery = Delivery.draw(rng, voices[number])
                clips.append(synthesizer.say(sentence(frame, lang), lang, delivery, number))
    return clips


def test_clips_are_sound_of_a_plausible_length():
    for clip in speak(("en", "de", "es", "fr", "it", "zh")):
        assert clip.dtype == np.int16
        assert 0.7 * 16000 < len(clip) < 6 * 16000
        loud = np.abs(clip.astype(float))
        assert 10000 < loud.max() <= 32767
        assert np.sqrt((loud**2).mean()) > 500
        # not a few clicks: most of the clip has speech
        frames = loud[: len(loud) // 160 * 160].reshape(-1, 160).max(axis=1)
        assert (frames > 0.05 * loud.max()).mean() > 0.4


def test_all_voices_are_equal_in_a_fresh_process():
    # breathy voices (f2, f3) draw noise that eSpeak NG would otherwise seed from the clock
    code = (
        "import hashlib\n"
        "from tests.corpora.test_mini_speech import speak\n"
        "print(hashlib.sha256(b''.join(c.tobytes() for c in speak(('en', 'es')))).hexdigest())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    here = hashlib.sha256(b"".join(clip.tobytes() for clip in speak(("en", "es"))))
    assert run.stdout.strip() == here.hexdigest()


def test_voices_of_the_test_are_two_seen_and_two_unseen():
    for held in (DEV_VARIANTS, TEST_VARIANTS):
        assert len(set(held) & set(TRAIN_VARIANTS)) == 2
        assert len(set(held) - {*TRAIN_VARIANTS, *ENCODER_VARIANTS}) == 2
    assert not (set(DEV_VARIANTS) & set(TEST_VARIANTS))


def test_an_unknown_voice_is_refused():
    delivery = Delivery("nobody", 180, 50, 50, 20.0, -6.0)
    with Synthesizer() as synthesizer:
        with pytest.raises(DataError, match="no voice variant 'nobody'"):
            synthesizer.say("Hello.", "en", delivery, 0)
        # and the next sentence is said
        good = Delivery("m1", 180, 50, 50, 20.0, -6.0)
        assert len(synthesizer.say("Hello.", "en", good, 0)) > 4000


def test_without_espeak_the_mend_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "espeakng_loader.py").write_text("raise ImportError('No module named it')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        main(["--out", str(tmp_path / "data"), "--nj", "1", "--train_clips", "1"])
    assert stop.value.code == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("prepare: error: the speech synthesiser eSpeak NG: ImportError")
    assert "pip install 'espnet_part[mini]'" in error
    assert not (tmp_path / "data" / "train").exists()


def test_options_are_checked():
    with pytest.raises(ConfigError, match="does not speak `ja`"):
        Options(langs=("en", "ja"))
    with pytest.raises(ConfigError, match="translation needs `en`"):
        Options(langs=("de", "es"))
    with pytest.raises(ConfigError, match="test_clips must be at least 1"):
        Options(test_clips=0)
    with pytest.raises(ConfigError, match="given twice"):
        Options(langs=("en", "de", "de"))
    assert targets("en", ("en", "de", "es")) == ["de", "es"] and targets("de", ("en", "de")) == [
        "en"
    ]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mini") / "data"
    assert prepare(SMALL, out, jobs=2)
    return out


def read(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = dict(line.split(" ", 1) for line in lines)
    assert len(rows) == len(lines)
    assert list(rows) == sorted(rows, key=str.encode)
    return rows


@pytest.mark.parametrize("name", ["train", "dev", "test", "encoder_train", "encoder_dev"])
def test_data_directories(corpus, name):
    directory = corpus / name
    text, task = read(directory / "text"), read(directory / "utt2task")
    lang, tgt = read(directory / "utt2lang"), read(directory / "utt2tgt")
    wav, samples = read(directory / "wav.scp"), read(directory / "utt2num_samples")
    assert text.keys() == task.keys() == lang.keys() == tgt.keys()
    assert wav.keys() == samples.keys() == {utt for utt in task if task[utt] != "t2tt"}
    assert wav.keys() == read(directory / "utt2spk").keys()
    for utt, path in wav.items():
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (16000, 1)
        assert info.frames == int(samples[utt])
    for utt in task:
        assert (lang[utt] == tgt[utt]) == (task[utt] == "asr")
        assert utt.endswith(f"-{task[utt]}-{tgt[utt]}")
    if name.startswith("encoder"):
        assert set(task.values()) == {"asr"}
        return
    source = read(directory / "src_text")
    assert source.keys() == {utt for utt in task if task[utt] != "asr"}
    kinds = {"asr", "s2tt"} if name == "test" else {"asr", "s2tt", "t2tt"}
    pairs = {("en", "de"), ("en", "es"), ("de", "en"), ("es", "en")}
    for kind in kinds - {"asr"}:
        assert {(lang[utt], tgt[utt]) for utt in task if task[utt] == kind} == pairs
    assert set(task.values()) == kinds


def test_the_projects_own_check_accepts_them(corpus):
    for name in ("train", "dev", "test", "encoder_train", "encoder_dev"):
        examples, faults = DataDir.load(corpus / name)
        assert not faults
        assert len(examples) == len(read(corpus / name / "text"))


def test_a_clip_has_one_file_for_all_its_tasks(corpus):
    by_wav: dict[str, set[str]] = {}
    for utt, path in read(corpus / "train" / "wav.scp").items():
        by_wav.setdefault(path, set()).add(utt.split("-", 1)[1])
    assert len(by_wav) == 3 * SMALL.train_clips
    for path, tasks in by_wav.items():
        lang = Path(path).parent.name
        expected = {"en": {"asr-en", "s2tt-de", "s2tt-es"}}
        assert tasks == expected.get(lang, {f"asr-{lang}", "s2tt-en"})


def test_dev_and_test_are_parallel(corpus):
    for name in ("dev", "test"):
        text = read(corpus / name / "text")
        lang = {utt.rsplit("-", 2)[0]: utt[:2] for utt in text if "-s2tt-" in utt or "-asr-" in utt}
        by_number: dict[str, set[str]] = {}
        for utt, sentence_ in text.items():
            if "t2tt" not in utt and utt.endswith("-en"):
                by_number.setdefault(utt.rsplit("-", 2)[0][-5:], set()).add(sentence_)
        # the English text is one for the English clip and for the translations of the others
        assert len(by_number) == 4 and all(len(group) == 1 for group in by_number.values())
        assert set(lang.values()) == {"en", "de", "es"}


def test_training_and_held_out_sentences_are_disjoint(corpus):
    def sentences(name: str) -> set[str]:
        files = [corpus / name / "text"]
        if name in ("train", "dev", "test"):
            files.append(corpus / name / "src_text")
        return {line for file in files for line in read(file).values()}

    train, dev, test = sentences("train"), sentences("dev"), sentences("test")
    encoder = sentences("encoder_train")
    assert not train & dev and not train & test and not dev & test
    assert not encoder & train and not encoder & dev and not encoder & test


def hashes(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(
            path.read_bytes().replace(str(out).encode(), b"")
        ).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def test_made_again_it_is_the_same_whatever_the_number_of_processes(corpus, tmp_path):
    assert prepare(SMALL, tmp_path / "data", jobs=1)
    assert hashes(tmp_path / "data") == hashes(corpus)


def test_what_is_there_is_not_made_again(corpus, monkeypatch, capsys):
    monkeypatch.setattr(prepare_module, "_make_all", None)
    options = json.loads((corpus / "corpus.json").read_text())
    options.pop("code")
    command = ["--out", str(corpus), "--langs", " ".join(options.pop("langs"))]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    main(command)
    assert "nothing to do" in capsys.readouterr().out
