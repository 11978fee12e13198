from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from espnet_part import sorting
from espnet_part.bin.part_format_data import main as format_data
from espnet_part.bin.part_import_lhotse import main
from espnet_part.data.audio import read_audio
from espnet_part.data.datadir import DataDir, Example
from tests.data.conftest import tone
from tests.memory import peak_memory

WAVE = tone(3.0)


def load(path: Path) -> dict[str, Example]:
    examples, faults = DataDir.load(path)
    assert faults == []
    return {example.utt_id: example for example in examples}


def dropped(path: Path) -> dict[str, tuple[str, str]]:
    rows = [line.split("\t") for line in (path / "dropped.tsv").read_text().splitlines()[1:]]
    return {row[3]: (row[4], row[5]) for row in rows}


def recording(path: Path | str, **changes: Any) -> dict[str, Any]:
    source = {"type": "file", "channels": [0], "source": str(path)}
    return {
        **{"id": "rec", "sources": [source], "sampling_rate": 16000, "num_samples": 48000},
        **{"duration": 3.0, "channel_ids": [0]},
        **changes,
    }


def supervision(name: str, **changes: Any) -> dict[str, Any]:
    span = {"start": 0.5, "duration": 1.0, "channel": 0}
    return {"id": name, "recording_id": "rec", **span, "text": "hallo", "language": "de", **changes}


def cut(name: str, supervisions: list[Any], **changes: Any) -> dict[str, Any]:
    found = {"id": name, "start": 0, "duration": 3.0, "channel": 0, "supervisions": supervisions}
    return {**found, "type": "MonoCut", **changes}


def write(path: Path, lines: list[Any]) -> str:
    content = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    opened: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.write(content)
    return str(path)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", WAVE, 16000, subtype="FLOAT")
    return tmp_path / "a.wav"


def test_supervisions_of_cuts_become_utterances(wav: Path, tmp_path: Path) -> None:
    spoken = [
        supervision("u1", speaker="s 1", language="German", custom={"english": "hello\nyou"}),
        supervision("u2", start=1.5, duration=0.75, text=" Welt\t", custom={"english": "world"}),
    ]
    cuts = [
        cut("c1", spoken, recording=recording(wav)),
        cut(
            "c2", [supervision("all", start=-1.0, duration=3.0)], recording=recording(wav), start=1
        ),
    ]
    path = write(tmp_path / "cuts.jsonl.gz", cuts)
    main(["--cuts", path, "--out", f"{tmp_path}/data"])
    found = load(tmp_path / "data")
    span = {"audio": str(wav), "segment": (0.5, 1.5), "num_samples": 16000}
    assert found["u1"] == Example("u1", "asr", "de", "de", "hallo", spk="s_1", **span)  # type: ignore[arg-type]
    assert (found["u2"].text, found["u2"].segment, found["u2"].spk) == ("Welt", (1.5, 2.25), None)
    assert (found["all"].segment, found["all"].num_samples) == (None, 48000)
    np.testing.assert_array_equal(read_audio(found["u1"]), WAVE[8000:24000])

    options = ["--task", "s2tt,asr", "--translation", "en=custom.english"]
    main(["--cuts", path, "--out", f"{tmp_path}/data", *options])
    both = load(tmp_path / "data")
    assert both.keys() == {*found, "u1-s2tt-en", "u2-s2tt-en"}
    first = both["u1-s2tt-en"]
    assert (first.lang, first.tgt, first.text, first.src_text) == ("de", "en", "hello you", "hallo")
    assert dropped(tmp_path / "data") == {"all-s2tt-en": ("no text", "")}
    (account,) = json.loads((tmp_path / "data/corpus.json").read_text())
    counts = {
        (lang, task): (own["read"], own["kept"])
        for lang, tasks in account["languages"].items()
        for task, own in tasks.items()
    }
    assert counts == {("de", "asr"): (3, 3), ("de-en", "s2tt"): (3, 2)}


def test_supervisions_and_recordings_in_manifests_of_their_own(tmp_path: Path, wav: Path) -> None:
    recordings = write(tmp_path / "recordings.jsonl", [recording("a.wav"), recording("b", id="x")])
    spoken = [supervision("u1"), supervision("u2", recording_id="nowhere")]
    supervisions = write(tmp_path / "supervisions.jsonl.gz", spoken)
    options = ["--recordings", recordings, "--audio_root", str(tmp_path), "--lang", "en"]
    main(["--supervisions", supervisions, *options, "--out", f"{tmp_path}/data"])
    (example,) = load(tmp_path / "data").values()
    assert (example.audio, example.segment, example.lang) == (str(wav), (0.5, 1.5), "en")
    assert dropped(tmp_path / "data") == {"u2": ("no recording of this id", "nowhere")}
    without = cut("c", [supervision("u1")])
    path = write(tmp_path / "cuts.jsonl", [without])
    main(["--cuts", path, *options, "--out", f"{tmp_path}/data"])
    assert load(tmp_path / "data") == {"u1": example}


def test_recordings_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "CHUNK", 50)
    count, more = 600, "x" * 40_000
    ids = [f"r{n:03}" for n in range(count)]
    recordings = write(
        tmp_path / "recordings.jsonl",
        [recording(f"{name}.wav", id=name, custom=more) for name in reversed(ids)],
    )
    said = [supervision(f"u-{name}", recording_id=name) for name in ids]
    supervisions = write(tmp_path / "supervisions.jsonl", said)
    with peak_memory() as peak:
        main(
            [
                "--supervisions",
                supervisions,
                "--recordings",
                recordings,
                "--out",
                f"{tmp_path}/data",
            ]
        )
        assert peak() < 12 << 20  # of 24
    found = load(tmp_path / "data")
    assert {utt: e.audio for utt, e in found.items()} == {f"u-{n}": f"{n}.wav" for n in ids}


def test_what_a_data_directory_cannot_say_is_counted_and_named(tmp_path: Path, wav: Path) -> None:
    def one(
        name: str, record: Any = None, sup: dict[str, Any] | None = None, **changes: Any
    ) -> Any:
        spoken = supervision(name, **(sup or {}))
        return cut(f"c-{name}", [spoken], recording=record or recording(wav), **changes)

    def source(kind: str, place: Any, channels: Any = (0,)) -> dict[str, Any]:
        return recording(wav, sources=[{"type": kind, "channels": channels, "source": place}])

    speed = [{"name": "Speed", "kwargs": {"factor": 1.1}}]
    resample = [{"name": "Resample", "kwargs": {"source_sampling_rate": 8000}}]
    split = recording(
        wav, sources=[{"type": "file", "channels": [n], "source": f"{n}.wav"} for n in (0, 1)]
    )
    lines = [
        one("good"),
        one("resampled", recording(wav, transforms=resample)),
        one("one_file_a_channel", split, channel=1),
        one("url", source("url", "https://host/a.wav")),
        one("slightly_beyond", sup={"start": 2.0, "duration": 1.04}),
        {"id": "mixed", "type": "MixedCut", "tracks": []},
        {"id": "padding", "type": "PaddingCut", "duration": 1.0},
        one("multi", type="MultiCut", channel=[0, 1]),
        cut("nothing_said", [], recording=recording(wav)),
        cut("features", [supervision("feats")], features={"type": "fbank"}),
        one("stereo", source("file", str(wav), [0, 1])),
        one("no_channel", channel=3),
        one("speed", recording(wav, transforms=speed)),
        one("command", source("command", "rm -rf /")),
        one("pipe", source("file", "rm -rf / |")),
        one("memory", source("memory", "AAAA")),
        one("shar", source("shar", "")),
        one("beyond", sup={"start": 2.5}),
        one("backwards", sup={"duration": -1}),
        one("no_start", sup={"start": "0"}),
        one("endless", recording(wav, duration=1e308), sup={"duration": 1e308}),
        one("no_number", sup={"duration": float("nan")}),
        one("half_a_speaker", sup={"speaker": "\ud800"}),
        one("no_text", sup={"text": None}),
        one("klingon", sup={"language": "Klingon-Tlh-x"}),
        one("no_list", recording(wav, transforms=5)),
        one("control", source("file", "a\nb.wav")),
        one("half", sup={"text": "\ud800"}),
        one("name\x00", recording(wav)),
        "[1, 2]\n",
        "{broken\n",
        json.dumps(cut("odd", ["no supervision"])) + "\n",
        one("good"),
    ]
    out = tmp_path / "data"
    main(["--cuts", write(tmp_path / "cuts.jsonl", lines), "--out", str(out)])
    found, _ = DataDir.load(out)
    names = ["good", "half_a_speaker", "one_file_a_channel", "resampled", "slightly_beyond", "url"]
    assert [e.utt_id for e in found] == names
    assert found[1].spk is None
    assert found[2].audio == "1.wav" and found[4].segment == (2.0, 3.0)
    reasons = {name: reason for name, (reason, _) in dropped(out).items()}
    assert reasons == {
        "mixed": "a mix of cuts, or a padded one",
        "padding": "padding",
        "c-multi": "several channels",
        "nothing_said": "a cut without supervision",
        "feats": "features without audio",
        "stereo": "one of several channels",
        "no_channel": "no audio of the channel",
        "speed": "audio that is changed when it is read",
        "command": "a command, or another source that is no file",
        "pipe": "a command instead of a file",
        "memory": "a command, or another source that is no file",
        "shar": "no audio in the shard",
        "beyond": "reaches beyond its recording",
        "backwards": "reaches beyond its recording",
        "no_start": "no start",
        "endless": "no duration",
        "no_number": "no duration",
        "no_text": "no text",
        "klingon": "unknown language",
        "no_list": "no list of transforms",
        "control": "odd name of a file",
        "half": "text too long, or not Unicode",
        "name\x00": "no name for an utterance",
        f"{tmp_path}/cuts.jsonl:30": "no manifest's line",
        f"{tmp_path}/cuts.jsonl:31": "no JSON",
        "odd": "no supervision",
        "good": "duplicate id",
    }


def test_manifests_that_cannot_be_read_end_in_one_line(
    tmp_path: Path, wav: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = gzip.compress(
        json.dumps(cut("c", [supervision("u")], recording=recording(wav))).encode()
    )
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-20])
    (tmp_path / "junk.jsonl.gz").write_bytes(b"junk")
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(b"[" * (1 << 26)))
    (tmp_path / "cuts.yaml").write_text("- 1")
    for name, reason in [
        ("cut.jsonl.gz", "cut.jsonl.gz: "),
        ("junk.jsonl.gz", "Not a gzipped file"),
        ("bomb.jsonl.gz", "longer than"),
        ("cuts.yaml", "lhotse copy"),
        ("none.jsonl", "missing file"),
        ("none*.jsonl", "no such file"),
    ]:
        with peak_memory() as peak, pytest.raises(SystemExit):
            main(["--cuts", f"{tmp_path}/{name}", "--out", f"{tmp_path}/data"])
        assert peak() < 100 << 20
        assert reason in capsys.readouterr().err
        assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("audio_format", ["copy", "flac"])
def test_lhotse_s_own_manifests(tmp_path: Path, wav: Path, audio_format: str) -> None:
    lhotse = pytest.importorskip("lhotse")
    rec = lhotse.Recording.from_file(wav)
    spoken = [
        lhotse.SupervisionSegment(
            *("u1", rec.id, 0.5, 1.0), text="hallo", language="German", custom={"english": "hello"}
        ),
        lhotse.SupervisionSegment("u2", rec.id, 1.75, 0.5, text="welt", language="de"),
    ]
    cuts = lhotse.CutSet.from_manifests(
        lhotse.RecordingSet.from_recordings([rec]), lhotse.SupervisionSet.from_segments(spoken)
    )
    whole = next(iter(cuts))
    odd = [whole.pad(5.0), whole.append(whole), whole.perturb_speed(1.1), whole.resample(8000)]
    lhotse.CutSet.from_cuts(
        cut.with_id(f"c{n}") for n, cut in enumerate([*cuts.trim_to_supervisions(), *odd])
    ).to_file(tmp_path / "cuts.jsonl.gz")
    out = tmp_path / "data"
    main(["--cuts", f"{tmp_path}/cuts.jsonl.gz", "--out", str(out)])
    found = load(out)
    assert {utt: e.text for utt, e in found.items()} == {"u1": "hallo", "u2": "welt"}
    assert {name: reason for name, (reason, _) in dropped(out).items()} == {
        "c2": "a mix of cuts, or a padded one",
        "c3": "a mix of cuts, or a padded one",
        "u1_sp1.1": "audio that is changed when it is read",
        "u2_sp1.1": "audio that is changed when it is read",
        "u1": "duplicate id",
        "u2": "duplicate id",
    }
    for cut_ in cuts.trim_to_supervisions():
        expected = cut_.load_audio()[0]
        np.testing.assert_array_equal(read_audio(found[cut_.supervisions[0].id]), expected)
    options = ["--in_dir", str(out), "--out_dir", f"{tmp_path}/dump", "--nj", "1"]
    format_data([*options, "--audio_format", audio_format])
    for utt, example in load(tmp_path / "dump").items():
        assert example.num_samples == found[utt].num_samples
        np.testing.assert_allclose(read_audio(example), read_audio(found[utt]), atol=2**-14)


def test_shar_is_read_where_it_lies(tmp_path: Path, wav: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    rec = lhotse.Recording.from_file(wav)
    spoken = [
        lhotse.SupervisionSegment(f"u.{n}", rec.id, n / 2, 0.5, text=f"{n}", language="de")
        for n in range(6)
    ]
    cuts = lhotse.CutSet.from_manifests(
        lhotse.RecordingSet.from_recordings([rec]), lhotse.SupervisionSet.from_segments(spoken)
    ).trim_to_supervisions()
    (tmp_path / "shar").mkdir()
    cuts.to_shar(tmp_path / "shar", fields={"recording": "flac"}, shard_size=3)
    out = tmp_path / "data"
    command = ["--cuts", f"{tmp_path}/shar/cuts.{{000000..000001}}.jsonl.gz", "--out", str(out)]
    main(command)
    found = load(out)
    assert len(found) == 6
    for number in range(6):
        example = found[f"u.{number}"]
        tar = f"{tmp_path}/shar/recording.{number // 3:06}.tar:"
        assert example.audio is not None and example.audio.startswith(tar)
        expected = WAVE[number * 8000 : (number + 1) * 8000]
        np.testing.assert_allclose(read_audio(example), expected, atol=2**-15)
    second = tmp_path / "shar/recording.000001.tar"
    whole = second.read_bytes()
    (cut_at,) = (
        int(e.audio.split(":")[1]) for e in found.values() if e.utt_id == "u.4" and e.audio
    )
    for content, left in ((whole[:cut_at], "0123"), (b"x" * 99, "012"), (None, "012")):
        second.unlink()
        if content is not None:
            second.write_bytes(content)
        main(command)
        assert load(out).keys() == {f"u.{n}" for n in left}
        faults = dropped(out)
        assert {reason for reason, _ in faults.values()} == {"no audio in the shard"}
        assert all(str(second) in detail for _, detail in faults.values())
        second.touch()
