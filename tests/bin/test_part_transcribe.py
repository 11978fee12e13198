"""The command, from audio files to transcripts, with a tiny random model."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from espnet_part.bin.part_transcribe import main
from espnet_part.data.audio import read_audio
from espnet_part.decode import longform
from tests.decode.test_subtitles import parse

RATE = 16000


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """exp/stage1 with config.yaml and trained weights, as part_train leaves them."""
    import torch
    import yaml

    from espnet_part.model.build import build_model
    from espnet_part.model.config import ModelConfig
    from espnet_part.train.checkpoint import save_trained
    from tests.train.tiny import model_config

    root = tmp_path_factory.mktemp("recipe")
    config = model_config(root)
    exp = root / "exp" / "stage1"
    exp.mkdir(parents=True)
    (exp / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    model = build_model(ModelConfig.from_mapping(config, "config.yaml"))
    names = [name for name, _ in model.named_parameters()]
    strata = {"strata": [["asr", "de", "de"], ["asr", "en", "en"], ["s2tt", "de", "en"]]}
    save_trained(exp / "valid.acc.ave.safetensors", model, names, strata)
    return exp


@pytest.fixture
def audio(tmp_path):
    """Speech-like noise: 8 s in which there are three windows; as stereo of another rate too."""
    rng = np.random.default_rng(0)
    samples = 1e-4 * rng.standard_normal(8 * RATE)
    for start, end in ((0.5, 2.0), (3.5, 5.0), (6.0, 7.5)):
        piece = slice(round(start * RATE), round(end * RATE))
        samples[piece] += 0.1 * rng.standard_normal(piece.stop - piece.start)
    folder = tmp_path / "audio"
    (folder / "more").mkdir(parents=True)
    soundfile.write(folder / "a.wav", samples, RATE)
    stereo = np.repeat(np.repeat(samples, 3)[:, None], 2, axis=1)
    soundfile.write(folder / "more" / "b.flac", stereo, 3 * RATE)
    return folder


def run(*options, model):
    limit = ["--max_tokens_per_second", "5", "--ngpu", "0", "--lang", "de"]
    main([*map(str, options), "--model", str(model), *limit])


def fails(capsys, *options, model="exp"):
    with pytest.raises(SystemExit) as stop:
        run(*options, model=model)
    assert stop.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--lang", "de"], ""),
        (["--lang", "fr"], "the model was not trained on asr of fr (asr: de, en)"),
        (["--task", "s2tt", "--lang", "de", "--to", "en"], ""),
        (
            ["--task", "s2tt", "--lang", "en", "--to", "de"],
            "the model was not trained on s2tt of en to de (s2tt: de to en)",
        ),
    ],
)
def test_languages_that_the_model_was_not_trained_on_are_named(
    experiment, audio, tmp_path, caplog, options, said
):
    limit = ["--max_tokens_per_second", "1", "--ngpu", "0", "--out", str(tmp_path / "out.txt")]
    main([str(audio / "a.wav"), "--model", str(experiment), *limit, *options])
    warnings = [r.getMessage() for r in caplog.records if "was not trained on" in r.getMessage()]
    assert warnings == ([said] if said else [])


def test_a_language_that_is_not_given_is_detected_in_each_file(experiment, audio, tmp_path, capsys):
    limit = ["--max_tokens_per_second", "5", "--ngpu", "0", "--format", "json"]
    out = tmp_path / "all.json"
    main([str(audio), "--model", str(experiment), *limit, "--out", str(out)])
    for entry in json.loads(out.read_text()):
        assert entry["lang"] == entry["to"] and entry["lang"] in ("de", "en")
        assert 0.5 <= entry["lang_probability"] <= 1.0
    main([str(audio), "--model", str(experiment), *limit, "--langs", "en", "--out", str(out)])
    assert {(e["lang"], e["lang_probability"]) for e in json.loads(out.read_text())} == {
        ("en", 1.0)
    }
    for langs, said in (("de,fr", "fr cannot be detected"), ("de,German", "did you mean de")):
        with pytest.raises(SystemExit) as stop:
            main([str(audio), "--model", str(experiment), *limit, "--langs", langs])
        assert stop.value.code == 1 and said in capsys.readouterr().err


def test_a_prompt_and_a_context_of_one_s_own(experiment, audio, tmp_path, capsys):
    asked = {"prompt": "{speech} Write down the {lang} speech.", "context": "Names: Nguyen"}
    out, found_by = tmp_path / "all.json", set()
    for options in ({}, asked, {"context": "Names: Nguyen"}):
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        run(audio / "a.wav", "--format", "json", "--out", out, *words, model=experiment)
        (found,) = json.loads(out.read_text())
        assert {key: found[key] for key in asked if key in found} == options
        found_by.add(tuple(window["score"] for window in found["windows"]))
    assert len(found_by) == 3  # a model of random weights may write the same
    said = fails(capsys, audio, "--prompt", "Write it down.")  # before a model is looked for
    assert "--prompt: {speech} must stand in it once" in said
    said = fails(capsys, audio, "--context", "word " * 2000, model=experiment)
    assert "shorten the context that you give" in said


def test_times_of_words_need_json_speech_and_a_model_that_hears(experiment, audio, capsys):
    wanted = (audio, "--word_times", "true")
    assert "only --format json" in fails(capsys, *wanted)  # before a model is looked for
    said = fails(capsys, *wanted, "--format", "json", "--task", "s2tt", "--to", "en")
    assert "s2tt writes are not spoken" in said
    assert "hears by CTC" in fails(capsys, *wanted, "--format", "json", model=experiment)


def test_text_json_and_subtitles(experiment, audio, tmp_path, capsys):
    run(audio, "--format", "json", "--out", tmp_path / "all.json", model=experiment)
    found = json.loads((tmp_path / "all.json").read_text())
    assert [entry["file"] for entry in found] == [
        str(audio / "a.wav"),
        str(audio / "more" / "b.flac"),
    ]
    for entry in found:
        spans = [(window["start"], window["end"]) for window in entry["windows"]]
        assert len(spans) == 3 and entry["seconds"] == 8.0
        for span, expected in zip(spans, ((0.5, 2.0), (3.5, 5.0), (6.0, 7.5)), strict=True):
            assert span == pytest.approx(expected, abs=0.25)
    run(audio / "a.wav", model=experiment)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split() == found[0]["text"].split()
    run(audio, "--format", "srt", "--out", f"{tmp_path}/subtitles/", model=experiment)
    written = [path for path in (tmp_path / "subtitles").rglob("*") if path.is_file()]
    assert sorted(path.relative_to(tmp_path / "subtitles").as_posix() for path in written) == [
        "a.srt",
        "more/b.srt",
    ]
    for path in written:
        assert all(0 <= start < end <= 8100 for start, end, _ in parse(path.read_text()))


def test_the_text_is_what_the_python_interface_gives(experiment, audio, tmp_path):
    from espnet_part.decode import Speech2Text

    run(
        audio / "a.wav",
        *("--task", "s2tt", "--to", "en"),
        "--format",
        "json",
        "--out",
        tmp_path / "x.json",
        model=experiment,
    )
    (entry,) = json.loads((tmp_path / "x.json").read_text())
    assert (entry["task"], entry["lang"], entry["to"]) == ("s2tt", "de", "en")
    model = Speech2Text.from_pretrained(experiment, max_tokens_per_second=5.0)
    whole = read_audio(audio / "a.wav")
    for window in entry["windows"]:
        piece = whole[round(window["start"] * RATE) : round(window["end"] * RATE)]
        assert model(piece, "s2tt", "de", "en")[0].text == window["text"]


def test_bad_files_are_named_and_the_others_go_on(experiment, audio, tmp_path, capsys):
    (audio / "empty.mp3").touch()
    (audio / "junk.ogg").write_bytes(b"junk" * 99)
    content = (audio / "a.wav").read_bytes()
    (audio / "short.wav").write_bytes(content[:9000])
    soundfile.write(audio / "z.mp3", soundfile.read(audio / "a.wav")[0], RATE)
    content = (audio / "z.mp3").read_bytes()
    (audio / "z.mp3").write_bytes(content[: len(content) // 2])
    error = fails(
        capsys, audio, tmp_path / "none.wav", "--out", f"{tmp_path}/out/", model=experiment
    )
    names = sorted(path.name for path in (tmp_path / "out").rglob("*.txt"))
    assert names == ["a.txt", "b.txt"]
    head, *lines = error[error.index("part_transcribe: error:") :].splitlines()
    assert head == "part_transcribe: error: 5 of 7 could not be transcribed:"
    reasons = dict(line.strip().removeprefix(str(tmp_path)).split(": ", 1) for line in lines)
    assert reasons.keys() == {
        "/none.wav",
        *(f"/audio/{name}" for name in ("empty.mp3", "junk.ogg", "short.wav", "z.mp3")),
    }
    assert reasons["/none.wav"] == "no such file or directory"
    assert reasons["/audio/empty.mp3"] == "empty file"
    assert reasons["/audio/junk.ogg"].startswith("not readable as audio")
    assert reasons["/audio/short.wav"].startswith("truncated")
    assert reasons["/audio/z.mp3"].startswith("truncated")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_what_ffmpeg_reads(experiment, audio, tmp_path):
    target = tmp_path / "a.m4a"
    command = ["ffmpeg", "-loglevel", "error", "-i", str(audio / "a.wav"), "-ar", "44100"]
    subprocess.run([*command, "-ac", "2", str(target)], check=True, stdin=subprocess.DEVNULL)
    run(target, "--timestamps", "true", "--out", tmp_path / "x.txt", model=experiment)
    lines = (tmp_path / "x.txt").read_text().splitlines()
    starts = [float(re.match(r"\[0:00:(\d\d\.\d\d) - ", line)[1]) for line in lines]
    assert starts == pytest.approx([0.5, 3.5, 6.0], abs=0.25)


def test_what_is_wrong_is_told_before_a_model_is_looked_for(audio, capsys):
    a = audio / "a.wav"
    for options, message in [
        ((a, "--task", "s2tt"), "--to is missing"),
        ((a, "--to", "en"), "use --task s2tt"),
        ((a, "--task", "s2tt", "--to", "english"), r"did you mean en \(English\)"),
        ((audio, "--format", "srt"), "give a directory"),
        ((audio, "--format", "srt", "--out", "all.srt"), "give a directory"),
        ((a, "--out", a), "would replace the audio"),
        ((a, "--out", a / "x.txt"), "a.wav is not a directory"),
        ((a, "--max_window", "1"), "`max_window` must be at least 2 s"),
        ((a, "--beam_size", "0"), "`beam_size` must be positive"),
        ((a, "--batch_size", "0"), "`batch_size` must be at least 1"),
        ((audio / "none.wav",), "1 of 1 could not be transcribed"),
        ((a,), "exp: neither a file nor a directory"),
    ]:
        error = fails(capsys, *options)
        assert re.search(message, error) and "Traceback" not in error


def test_windows_fit_into_the_llms_context(experiment, audio, capsys, tmp_path, monkeypatch):
    """The tiny LLM has 256 positions; whatever is not said is chosen so that answers fit."""
    seen = []
    cut = longform._Cutter.__init__
    monkeypatch.setattr(
        longform._Cutter,
        "__init__",
        lambda self, windowing: seen.append(windowing.max_window) or cut(self, windowing),
    )
    run(audio / "a.wav", model=experiment)
    assert 2.0 <= seen[0] < 30.0
    error = fails(capsys, audio / "a.wav", "--max_window", seen[0] + 1, model=experiment)
    assert f"the LLM's context holds {seen[0]:g} s" in error


def test_help_is_quick_and_complete():
    code = (
        "import sys; from espnet_part.bin.part_transcribe import get_parser; "
        "print(get_parser().format_help()); "
        "print([m for m in ('torch', 'transformers', 'numpy', 'soundfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n") and "--format srt --out talk.srt" in done.stdout
