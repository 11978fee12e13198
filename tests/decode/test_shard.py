"""Decoding a shard: files, resuming, failures, the command."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from espnet_part.bin.part_inference import main
from espnet_part.decode.arguments import parse
from espnet_part.decode.lines import one_line, one_word
from espnet_part.decode.records import Record, Records
from espnet_part.decode.shard import JOURNAL, decode_shard, select_examples
from espnet_part.decode.time_left import Progress
from espnet_part.errors import ConfigError, DataError
from espnet_part.progress import clock

SETTINGS = {"beam_size": 1}


class Spy:
    """A model that tells what it is given to decode, and may die after so many hypotheses."""

    def __init__(self, model, dies_after=None):
        self.model, self.device, self.decoded, self.dies_after = model, model.device, [], dies_after

    def prepare(self, example):
        return self.model.prepare(example)

    def decode_stream(self, rows):
        for done, decoded in enumerate(self.model.decode_stream(map(self.note, rows))):
            if done == self.dies_after:
                raise KeyboardInterrupt
            yield decoded

    def note(self, row):
        self.decoded.append(row.example.utt_id)
        return row


def _run(model, data, out, dies_after=None, settings=SETTINGS, share=0.5, keys=None):
    spy = Spy(model, dies_after)
    examples, bad = select_examples(data, keys)
    times = decode_shard(examples, bad, out, lambda: spy, settings, share)
    return spy.decoded, times


def _files(out):
    return {p.name: p.read_text(encoding="utf-8") for p in sorted((out / "1best_recog").iterdir())}


def test_layout(model, data, tmp_path):
    decoded, times = _run(model, data, tmp_path / "out")
    files = _files(tmp_path / "out")
    assert sorted(files) == ["score", "text", "token", "token_int"]
    ids = ["u1", "u2", "u3", "u4", "u5", "u6", "u7", "v1"]
    for content in files.values():
        assert [line.split(" ")[0] for line in content.splitlines()] == ids
    lines = zip(files["token"].splitlines(), files["token_int"].splitlines(), strict=True)
    for line, numbers in lines:
        assert len(line.split(" ")) == len(numbers.split(" "))
    assert decoded[0] == "u5" and decoded[-1] == "v1"  # the longest first, text last
    assert (tmp_path / "out/failed.tsv").read_text() == ""
    assert json.loads((tmp_path / "out/rtf.json").read_text()) == times
    assert times["audio_seconds"] == pytest.approx(11.33, abs=0.01)
    assert times["rtf"] == pytest.approx(times["decode_seconds"] / times["audio_seconds"])
    assert times["text_seconds"] > 0 and times["utterances"] == 8


def test_n_best_hypotheses_have_a_directory_a_rank_as_espnet_s_have(exp, data, tmp_path):
    options = [
        "--part_train_config",
        exp / "config.yaml",
        "--part_model_file",
        exp / "model.safetensors",
    ]
    options += ["--data_dir", data, "--max_tokens_per_second", 4, "--beam_size", 3]
    out = tmp_path / "out"

    def tables():
        found = {}
        for directory in sorted(out.glob("*best_recog")):
            names = [path.name for path in sorted(directory.iterdir())]
            assert names == ["score", "text", "token", "token_int"]
            lines = {name: (directory / name).read_text().splitlines() for name in names}
            ids = {tuple(line.split()[0] for line in table) for table in lines.values()}
            assert len(ids) == 1 and len(lines["text"]) == 8
            found[directory.name] = lines
        return found

    main([*map(str, options), "--output_dir", str(out), "--nbest", "3"])
    found = tables()
    assert [*found] == ["1best_recog", "2best_recog", "3best_recog"]
    ranked = [[float(x.split()[1]) for x in lines["score"]] for lines in found.values()]
    assert all(a >= b >= c for a, b, c in zip(*ranked, strict=True))
    assert len({tuple(lines["token_int"]) for lines in found.values()}) == 3
    # what the journal has is written again as it was
    main([*map(str, options), "--output_dir", str(out), "--nbest", "3"])
    assert tables() == found
    # the others do not stay beside those of a later run
    main([*map(str, options), "--output_dir", str(out)])
    again = tables()
    assert [*again] == ["1best_recog"]
    assert again["1best_recog"]["token_int"] == found["1best_recog"]["token_int"]


def test_resumes_after_a_kill(model, data, tmp_path, monkeypatch):
    monkeypatch.setattr("espnet_part.decode.shard._TOLD", 2)
    _run(model, data, tmp_path / "whole")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        _run(model, data, out, dies_after=4)
    assert not (out / "1best_recog").exists()
    journal = out / JOURNAL
    lines = journal.read_bytes()
    assert lines.count(b"\n") == 4
    journal.write_bytes(lines[:-30])  # killed while the fourth line was written
    decoded, _ = _run(model, data, out)
    assert len(decoded) == 5
    files, whole = _files(out), _files(tmp_path / "whole")
    scores = [[float(x.split()[1]) for x in f.pop("score").splitlines()] for f in (files, whole)]
    assert files == whole and scores[0] == pytest.approx(scores[1], abs=2e-4)
    assert journal.read_bytes().count(b"\n") == 8


def test_finished_shard_loads_no_model(model, data, tmp_path):
    _run(model, data, tmp_path)
    before = _files(tmp_path)
    examples, bad = select_examples(data, None)

    def load():
        raise AssertionError("nothing is left to decode")

    decode_shard(examples, bad, tmp_path, load, SETTINGS, 0.0)
    assert _files(tmp_path) == before


def test_other_settings_start_over(model, data, tmp_path, caplog):
    _run(model, data, tmp_path)
    decoded, _ = _run(model, data, tmp_path, settings={"beam_size": 2})
    assert len(decoded) == 8 and "other settings (beam_size): starting over" in caplog.text


def test_changed_utterances_are_decoded_again(model, data, tmp_path):
    _run(model, data, tmp_path)
    path = data / "src_text"
    path.write_text("v1 Buenas noches\n", encoding="utf-8")
    (data / "text").write_text((data / "text").read_text().replace("u1 text", "u1 other"))
    assert _run(model, data, tmp_path)[0] == ["v1"]  # a new reference changes nothing


def test_damaged_records_are_decoded_again(tmp_path, caplog):
    path = tmp_path / "x/j.jsonl"
    records = Records(path)
    assert records.read() == {}
    records.add([Record("a", "h", text="zwei  Wörter", tokens=("z", "w"), token_int=(1, 2))])
    records.add([Record("b", "h", error="bad"), Record("a", "h", text="neu", tokens=("n",))])
    with path.open("ab") as file:
        file.write(b'{"utt_id": "c"}\n[1]\n{"utt_id": [], "source": "h"}\n')
    found = records.read()
    assert set(found) == {"a", "b"} and found["a"].text == "neu" and found["a"].tokens == ("n",)
    assert found["b"].error == "bad"
    assert caplog.text.count("damaged record") == 3
    records.clear()
    assert records.read() == {}


def _spoil(data, name, content):
    path = data.parent / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        soundfile.write(path, content, 16000, subtype="FLOAT")


def test_bad_audio_is_named_and_the_rest_goes_on(model, data, tmp_path, caplog):
    _run(model, data, tmp_path / "whole")
    _spoil(data, "u1.wav", b"")
    _spoil(data, "u3.wav", np.full(17600, np.nan, dtype=np.float32))
    (data.parent / "u7.wav").unlink()
    out = tmp_path / "out"
    decoded, times = _run(model, data, out)
    failed = dict(line.split("\t") for line in (out / "failed.tsv").read_text().splitlines())
    assert failed == {
        "u1": "empty file",
        "u3": "samples that are not finite numbers",
        "u7": "missing file",
    }
    assert times["failed"] == 3 and len(decoded) == 5
    whole = _files(tmp_path / "whole")["text"].splitlines()
    assert _files(out)["text"].splitlines() == [line for line in whole if line[:2] not in failed]
    assert "u7: missing file" in caplog.text
    _spoil(data, "u7.wav", np.zeros(35200, dtype=np.float32))  # mended: only it is tried again
    assert _run(model, data, out)[0] == ["u7"]


def test_too_many_failures_end_with_an_error(model, data, tmp_path):
    _spoil(data, "u1.wav", b"junk")
    with pytest.raises(DataError, match=r"1 of 8 utterances failed \(at most 10.0% may\)"):
        _run(model, data, tmp_path / "out", share=0.1)
    assert len(_files(tmp_path / "out")["text"].splitlines()) == 7  # written all the same


def test_faults_of_the_directory_are_failures(model, data, tmp_path):
    with (data / "utt2task").open("a") as file:
        file.write("w1 sing\n")
    keys = tmp_path / "keys.1.scp"
    keys.write_text("v1 x\nnobody y\nw1\nu4 z\nu4 z\n\n")
    decoded, _ = _run(model, data, tmp_path / "out", keys=keys)
    assert sorted(decoded) == ["u4", "v1"]
    lines = (tmp_path / "out/failed.tsv").read_text().splitlines()
    assert lines[0] == f"nobody\tnot in {data}" and lines[1].startswith("w1\t")
    assert _files(tmp_path / "out")["text"].startswith("v1")  # in the order of the key file


def test_unreadable_directories(data, tmp_path):
    with pytest.raises(DataError, match="missing directory"):
        select_examples(tmp_path / "nowhere", None)
    with pytest.raises(DataError, match=r"no\.scp: missing file"):
        select_examples(data, tmp_path / "no.scp")
    (tmp_path / "empty.scp").write_text("\n")
    with pytest.raises(DataError, match="names no utterance"):
        select_examples(data, tmp_path / "empty.scp")


def test_what_is_too_large_is_halved_and_one_too_large_is_named(model, data, tmp_path, monkeypatch):
    """A device whose memory holds two utterances, and never `u5`."""
    read = model._read

    def narrow(rows, keep):
        if len(rows) > 2 or any(row.example.utt_id == "u5" for row in rows):
            raise RuntimeError("out of memory:\n  tried to allocate 3 GiB")
        return read(rows, keep)

    monkeypatch.setattr(model, "_read", narrow)
    _run(model, data, tmp_path)
    line = "u5\tRuntimeError: out of memory: tried to allocate 3 GiB\n"
    assert (tmp_path / "failed.tsv").read_text() == line
    assert len(_files(tmp_path)["text"].splitlines()) == 7


def test_a_broken_model_ends_early(model, data, tmp_path, monkeypatch):
    def broken(rows, keep):
        raise RuntimeError("device-side assert")

    monkeypatch.setattr("espnet_part.decode.shard._HOPELESS", 4)
    monkeypatch.setattr("espnet_part.decode.shard._TOLD", 2)
    monkeypatch.setattr(model, "_read", broken)
    keys = tmp_path / "keys"
    keys.write_text("faulty\n" + "".join(f"u{n}\n" for n in range(1, 8)))
    with pytest.raises(DataError, match="the first 4 utterances all failed, such as u5: Runtime"):
        _run(model, data, tmp_path / "out", keys=keys)


def test_nothing_breaks_a_line():
    assert one_line(" a\nb\u2028c\td\x85 ") == "a b c d"
    assert one_line("你\u3000好") == "你\u3000好"
    assert [one_word(x) for x in ("Ġa", " ", "a\n", "", "\ufeff")] == [
        "Ġa",
        "<space>",
        "a<space>",
        "<blank>",
        "<space>",
    ]


def test_progress_in_words(caplog):
    caplog.set_level("INFO")
    with Progress(100, 4) as progress:
        progress.advance(25, 1)
        assert progress.line(10).startswith(
            "1/4 utterances, 25 % of the work, 0:10 so far, ETA 0:30"
        )
        progress.advance(75, 3)
    assert "decoding: 4/4 utterances, 100 %" in caplog.text
    assert clock(3725) == "1:02:05"


def test_command(exp, data, tmp_path):
    config = tmp_path / "decode.yaml"
    config.write_text("batch_size: 3\nmax_tokens_per_second: 8\nbeam_size: 2\n")
    out = tmp_path / "logdir/output.1"
    arguments = ["--config", str(config), "--beam_size", "1", "--data_dir", str(data)]
    arguments += ["--part_train_config", str(exp / "config.yaml"), "--output_dir", str(out)]
    main([*arguments, "--part_model_file", str(exp / "model.safetensors")])
    assert len(_files(out)["text"].splitlines()) == 8
    settings = json.loads((out / "decode.json").read_text())
    assert settings["beam_size"] == 1 and settings["max_tokens_per_second"] == 8.0


def test_changed_prompts_start_over_and_a_changed_tokenizer_is_refused(exp, data, tmp_path, caplog):
    caplog.set_level("INFO")
    own = tmp_path / "exp"
    shutil.copytree(exp, own)
    config = own / "config.yaml"
    config.write_text(config.read_text().replace(str(exp), str(own)))
    arguments = ["--data_dir", str(data), "--part_train_config", str(config)]
    arguments += ["--part_model_file", str(exp / "model.safetensors"), "--max_new_tokens", "2"]
    arguments += ["--output_dir", str(tmp_path / "out")]
    main(arguments)
    main(arguments)
    assert "starting over" not in caplog.text
    prompts = own / "prompts.yaml"
    prompts.write_text(prompts.read_text().replace("Transcribe", "Write down"))
    main(arguments)
    assert "other settings (prompts): starting over" in caplog.text
    (own / "tokenizer/chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(SystemExit):  # it is part of what the weights were trained with
        main(arguments)
    prompts.unlink()
    with pytest.raises(SystemExit):
        main(arguments)


def test_options_are_checked(exp, data, tmp_path, capsys):
    config = tmp_path / "decode.yaml"
    config.write_text("beamsize: 3\n")
    with pytest.raises(ConfigError, match="did you mean `beam_size`"):
        parse(["--config", str(config)])
    with pytest.raises(ConfigError, match="--part_train_config is missing"):
        parse(["--data_dir", "x", "--output_dir", "y"])
    needed = ["--data_dir", str(data), "--output_dir", str(tmp_path / "out")]
    needed += ["--part_train_config", str(exp / "config.yaml")]
    for wrong, message in (
        (["--beam_size", "0"], "`beam_size` must be positive"),
        (["--part_model_file", "nowhere"], "nowhere: no such file"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*needed, *wrong])
        assert stopped.value.code == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("part_inference: error: ") and message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["greedy", "beam4"])
def test_shipped_configurations(name):
    path = f"conf/decode/{name}.yaml"
    words = ["--part_train_config", "x", "--data_dir", "y", "--output_dir", "z"]
    assert parse(["--config", path, *words]).beam_size == {"greedy": 1, "beam4": 4}[name]
