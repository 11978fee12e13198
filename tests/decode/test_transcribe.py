"""Files to transcripts: with a fake model that tells what it was given, and with a tiny real one."""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_part.data.chat import Tokens
from espnet_part.data.collate import Row
from espnet_part.decode.direction import Direction
from espnet_part.decode.longform import Windowing
from espnet_part.decode.search import Search
from espnet_part.decode.speech2text import Decoded, Hypothesis, Speech2Text
from espnet_part.decode.transcribe import AudioFile, longest_window, probe_files, transcribe
from espnet_part.decode.transcripts import Output, output_paths, to_dict, to_text
from espnet_part.decode.word_times import word_times
from espnet_part.errors import ConfigError, DataError
from tests.decode.sound import RATE, room, speech
from tests.memory import peak_memory


class Fake:
    """Writes how long the speech is, in place of what is said."""

    search = Search()

    def __init__(self, fails=lambda seconds: False):
        self.fails = fails
        self.heard = []

    def at_once(self, seconds):
        return 3

    def prepare(self, example, speech, prompt, context):
        return Row(example, Tokens([], [], []), speech=speech)

    def decode_stream(self, rows):
        for row in rows:
            seconds = len(row.speech) / RATE
            self.heard.append(seconds)
            if self.fails(seconds):
                yield Decoded(row, [], "RuntimeError: does not like it")
            else:
                yield Decoded(row, [Hypothesis(f"{seconds:.1f}", [], [], -seconds)], "")


def write(path, *parts, seed=0):
    """Seconds of speech, and negative ones of silence."""
    pieces = [
        room(abs(seconds), seed + number) + (speech(seconds, seed + number) if seconds > 0 else 0)
        for number, seconds in enumerate(parts)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(pieces), RATE)
    return AudioFile(path, Path(path.name), sum(map(abs, parts)))


def run(files, model, **options):
    return list(transcribe(files, model, Direction("asr", "de", "de"), Windowing(**options)))


def spoken(transcript):
    return [round(float(line.text)) for line in transcript.lines]


def test_windows_of_all_files_in_order(tmp_path, caplog):
    files = [
        write(tmp_path / "a.wav", -1.0, 2.0, -2.0, 5.0, -2.0, 3.0, -1.0),
        write(tmp_path / "b.wav", -3.0),
        write(tmp_path / "c.wav", 4.0, -2.0, 7.0, -20.0),
    ]
    model = Fake()
    with caplog.at_level(logging.INFO):
        found = run(files, model)
    assert [each.file for each in found] == files
    assert [spoken(each) for each in found] == [[2, 5, 3], [], [4, 7]]
    assert [each.seconds for each in found] == [16.0, 3.0, 33.0]
    for each in found:
        for line in each.lines:
            assert float(line.text) == pytest.approx(line.end - line.start, abs=0.051)
            assert line.score == pytest.approx(line.start - line.end)
        # windows and silences are everything, once
        parts = sorted([*each.silences(), *((line.start, line.end) for line in each.lines)])
        assert parts[0][0] == 0.0 and parts[-1][1] == each.seconds
        assert all(a[1] == b[0] for a, b in zip(parts, parts[1:]))  # noqa: B905, RUF007
    assert found[0].decode_seconds > 0
    # windows of like length, of several files, come one after the other
    assert [round(value) for value in model.heard] == [7, 5, 4, 3, 2]
    assert "b.wav: nothing but silence" in caplog.text
    assert "c.wav: 0:33 in 2 windows; 0:22 of silence were skipped" in caplog.text
    assert "3/3 files, 100 %" in caplog.text


def test_a_bad_file_does_not_end_the_others(tmp_path, caplog):
    files = [write(tmp_path / f"{name}.wav", *[3.0, -1.0] * 5) for name in "abc"]
    soundfile.write(tmp_path / "b.mp3", soundfile.read(files[1].path)[0], RATE)
    content = (tmp_path / "b.mp3").read_bytes()
    (tmp_path / "b.mp3").write_bytes(content[: len(content) * 2 // 3])
    files[1] = AudioFile(tmp_path / "b.mp3", Path("b.mp3"), 20.0)
    found = run(files, Fake())
    assert [each.error is None for each in found] == [True, False, True]
    assert "truncated" in found[1].error and "b.mp3: truncated" in caplog.text
    assert len(found[2].lines) == 5


def test_a_window_that_cannot_be_decoded_is_named_with_its_file(tmp_path):
    files = [write(tmp_path / "a.wav", 3.0, -1.0, 6.0), write(tmp_path / "b.wav", 3.0, -1.0, 2.0)]
    found = run(files, Fake(fails=lambda seconds: 5 < seconds < 7))
    assert found[0].error == ("cannot be decoded from 0:04 to 0:10: RuntimeError: does not like it")
    assert found[1].error is None and spoken(found[1]) == [3, 2]


def test_a_broken_model_is_told_soon(tmp_path):
    files = [write(tmp_path / f"{n}.wav", 2.0, -1.0, seed=n) for n in range(30)]
    with pytest.raises(DataError, match="the first 20 windows all failed: RuntimeError"):
        run(files, Fake(fails=lambda seconds: True))


def test_an_hour_is_never_in_memory(tmp_path):
    path = tmp_path / "hour.wav"
    piece = np.concatenate([speech(5.0), room(1.0)] * 100)
    with soundfile.SoundFile(path, "w", RATE, 1) as sound:
        for _ in range(6):
            sound.write(piece)
    with peak_memory() as peak:
        (found,) = run([AudioFile(path, Path(path.name), 3600.0)], Fake())
        assert peak() < 64e6  # the hour has 230 MB
    assert len(found.lines) == 600 and found.seconds == 3600.0


def test_windows_decode_as_single_utterances_do(tmp_path, model):
    """A tiny real model, in batches, against one call a window."""
    files = [
        write(tmp_path / "a.flac", 1.0, -1.0, 2.0, -1.0, 1.5),
        write(tmp_path / "b.flac", 1.2, seed=9),
    ]
    found = list(transcribe(files, model, Direction("s2tt", "de", "en"), Windowing(max_window=4.0)))
    texts = []
    for each in found:
        audio = soundfile.read(each.file.path, dtype="float32")[0]
        for line in each.lines:
            piece = audio[round(line.start * RATE) : round(line.end * RATE)]
            single = model(piece, "s2tt", "de", "en")[0]
            assert (line.text, line.score) == (single.text, pytest.approx(single.score, abs=1e-4))
            texts.append(line.text)
    assert len(texts) == 4 and len(set(texts)) == 4


def test_words_have_times_in_the_file(tmp_path, spelling):
    file = write(tmp_path / "a.flac", -1.0, 1.0, -1.0, 2.0)
    direction = Direction("asr", "de", "de", words=True)
    (found,) = transcribe([file], spelling, direction, Windowing(max_window=4.0))
    audio = soundfile.read(file.path, dtype="float32")[0]
    entries = to_dict(found, {"lang": "de", "to": "de"})["windows"]
    assert len(found.lines) == 2 and any(line.words for line in found.lines)
    for line, entry in zip(found.lines, entries, strict=True):
        piece = audio[round(line.start * RATE) : round(line.end * RATE)]
        words = word_times(spelling, piece, line.text)
        assert list(line.words) == [word.later(line.start) for word in words]
        assert entry.get("words", []) == [word.to_dict() for word in line.words]


def test_longest_window_leaves_room_for_the_answer(model):
    room = longest_window(model, Direction("asr", "de", "de"))
    fits = model.prepare(
        Direction("asr", "de", "de").example(), np.zeros(int(room) * RATE, np.float32)
    )
    beyond = dataclasses.replace(fits, speech=np.zeros(int(room + 1) * RATE, np.float32))
    assert model.limit(fits) == model.search.limit_speech(room)
    assert model.limit(beyond) < model.search.limit_speech(room + 1)
    with pytest.raises(ConfigError, match="no prompt for the task"):
        without = Speech2Text.from_parts(model.model, model.tokenizer, model.prompts)
        without.prompts = type(model.prompts)({"asr": model.prompts.wordings["asr"]})
        longest_window(without, Direction("s2tt", "de", "en"))
    greedy = Search(max_tokens_per_second=600.0)
    with pytest.raises(DataError, match="too small for a prompt of 31 tokens, 2 s of speech"):
        longest_window(
            Speech2Text.from_parts(model.model, model.tokenizer, model.prompts, greedy),
            Direction("asr", "de", "de"),
        )


def test_probing_names_what_cannot_be_read(tmp_path):
    good = write(tmp_path / "a.wav", 2.0)
    (tmp_path / "e.wav").touch()
    files, bad = probe_files([(good.path, good.name), (tmp_path / "e.wav", Path("e.wav"))])
    assert files == [good] and bad == [(tmp_path / "e.wav", "empty file")]


SETTINGS = {"model": "exp/x", "task": "asr", "lang": "de", "to": "de"}


@pytest.fixture
def transcripts(tmp_path):
    files = [write(tmp_path / "in" / f"{n}.wav", -1.0, 2.0, -2.0, 3.0) for n in "ab"]
    found = run(files, Fake())
    bad = dataclasses.replace(found[0], file=AudioFile(tmp_path / "c.wav", Path("c.wav"), 1.0))
    bad.error = "truncated"
    return [*found, bad]


def put(transcripts, form, out, **options):
    files = [(each.file.path, each.file.name) for each in transcripts]
    output = Output(form, out, files, SETTINGS, **options)
    for transcript in transcripts:
        output.add(transcript)
    output.close()


def test_text_is_a_line_a_file(transcripts, tmp_path, capsys):
    put(transcripts, "text", None)
    names = [str(tmp_path / "in" / f"{n}.wav") for n in "ab"]
    assert capsys.readouterr().out == "".join(f"{name}\t2.1 3.0\n" for name in names)
    put(transcripts[:1], "text", None)
    assert capsys.readouterr().out == "2.1 3.0\n"
    put(transcripts, "text", str(tmp_path / "all.txt"), timestamps=True)
    lines = (tmp_path / "all.txt").read_text().splitlines()
    assert len(lines) == 4 and lines[0].startswith(f"{names[0]}\t[0:00:00.9")
    assert lines[0].endswith("] 2.1")


def test_text_of_languages_without_spaces(transcripts):
    assert to_text(transcripts[0], "zh") == "2.13.0"
    assert to_text(transcripts[0], "ko") == "2.1 3.0"


def test_json_holds_everything(transcripts, tmp_path, capsys):
    put(transcripts, "json", None)
    found = json.loads(capsys.readouterr().out)
    first, _, bad = found
    assert first["file"] == str(tmp_path / "in" / "a.wav") and first["seconds"] == 8.0
    assert SETTINGS.items() <= first.items() and first["text"] == "2.1 3.0"
    assert [window["text"] for window in first["windows"]] == ["2.1", "3.0"]
    assert {"start", "end", "text", "score"} == first["windows"][0].keys()
    assert first["real_time_factor"] == pytest.approx(first["decode_seconds"] / 8.0, abs=1e-3)
    assert len(first["silences"]) == 2 and first["silences"][0][0] == 0.0
    assert bad == {"file": str(tmp_path / "c.wav"), **SETTINGS, "error": "truncated"}
    assert to_dict(transcripts[0], SETTINGS) == first


@pytest.mark.parametrize("form", ["text", "json"])
def test_names_that_are_no_text(tmp_path, form, capsys):
    """File systems allow any bytes; neither a file nor a terminal does."""
    files = []
    for name in "ab":
        plain = write(tmp_path / f"{name}.wav", 1.0)
        try:
            path = plain.path.rename(tmp_path / f"{name}\udcff\n.wav")
        except OSError:
            pytest.skip("this file system refuses such a name")
        files.append(AudioFile(path, Path(path.name), 1.0))
    put(run(files, Fake()), form, str(tmp_path / "out"))
    put(run(files, Fake()), form, None)
    assert len(capsys.readouterr().out.split("wav")) == 3
    content = (tmp_path / "out").read_text(encoding="utf-8")
    if form == "json":
        names = [entry["file"].rsplit("/", 1)[1] for entry in json.loads(content)]
        assert names == ["a\ufffd\n.wav", "b\ufffd\n.wav"]
    else:
        names = [line.split("\t")[0].rsplit("/", 1)[1] for line in content.splitlines()]
        assert names == ["a\ufffd .wav", "b\ufffd .wav"]


@pytest.mark.parametrize("form", ["text", "json", "srt"])
def test_a_directory_has_a_file_for_each(transcripts, tmp_path, form):
    put(transcripts, form, str(tmp_path / "out") + "/")
    suffix = {"text": "txt"}.get(form, form)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"a.{suffix}", f"b.{suffix}"]  # and nothing of the one that failed
    content = (tmp_path / "out" / names[0]).read_text(encoding="utf-8")
    if form == "json":
        assert [entry["text"] for entry in json.loads(content)] == ["2.1 3.0"]
    else:
        assert content.startswith("1\n00:00:00,9" if form == "srt" else "2.1 3.0\n")


def test_nothing_is_written_when_all_failed(transcripts, tmp_path):
    put(transcripts[2:], "json", str(tmp_path / "out.json"))
    assert not (tmp_path / "out.json").exists()


def test_names_in_a_directory():
    def name(*files):
        pairs = [(Path("in") / file, Path(file)) for file in files]
        return [path.as_posix() for path in output_paths(pairs, Path("o"), ".srt").values()]

    assert name("a.wav", "b/a.wav", "b.c.mp3") == ["o/a.srt", "o/b/a.srt", "o/b.c.srt"]
    assert name("a.wav", "a.mp3", "c.wav") == ["o/a.wav.srt", "o/a.mp3.srt", "o/c.srt"]
    with pytest.raises(ConfigError, match=r"2 of the files would be written to o/a\.wav\.srt"):
        output_paths(
            [(Path("x/a.wav"), Path("a.wav")), (Path("y/a.wav"), Path("a.wav"))], Path("o"), ".srt"
        )


def test_outputs_that_make_no_sense(transcripts, tmp_path):
    with pytest.raises(ConfigError, match="give a directory"):
        put(transcripts, "srt", str(tmp_path / "all.srt"))
    with pytest.raises(ConfigError, match="would replace the audio"):
        put(transcripts, "text", str(tmp_path / "in" / "a.wav"))
