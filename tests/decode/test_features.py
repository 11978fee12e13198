"""A frozen encoder's output, kept once: equal to the encoder's, resumable, tied to its weights."""

import dataclasses
import json
import re

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
import yaml

from espnet_part import sorting
from espnet_part.bin.part_extract_features import main
from espnet_part.data.audio import read_audio, read_matrix
from espnet_part.data.datadir import DataDir
from espnet_part.data.stage_data import load_feats
from espnet_part.decode import features
from espnet_part.decode.features import Encoder, extract_features
from espnet_part.errors import ConfigError, DataError
from espnet_part.model.config import ModelConfig
from tests.decode.conftest import MODEL

BINS = 16000 * 6


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A model whose encoder is a pretrained one on the disk."""
    from transformers import WhisperConfig, WhisperModel

    path = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(1)
    WhisperModel(
        WhisperConfig(
            **MODEL["encoder_conf"]["config"],
            decoder_layers=1,
            vocab_size=20,
            decoder_attention_heads=2,
            decoder_ffn_dim=8,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            decoder_start_token_id=0,
        )
    ).save_pretrained(path)
    return {**MODEL, "encoder_conf": {"name": str(path)}}


@pytest.fixture(scope="module")
def encoder(config):
    return Encoder.load(ModelConfig.from_mapping(config, "x"), None)


@pytest.fixture
def examples(data):
    found, _ = DataDir.load(data)
    first = found[0]  # the same clip in a second task
    return [*found, dataclasses.replace(first, utt_id="u1-s2tt-en", task="s2tt", tgt="en")]


def test_equals_the_encoder_whatever_the_batch(encoder, examples, tmp_path):
    out = tmp_path / "feats"
    assert extract_features(examples, encoder, out, BINS, 0.0) == 7
    entries = dict(line.split() for line in (out / "feats.scp").read_text().splitlines())
    spoken = [example for example in examples if example.audio]
    assert sorted(entries) == list(entries) == sorted(e.utt_id for e in spoken)
    assert entries["u1"] == entries["u1-s2tt-en"]  # encoded once
    frames = dict(line.split() for line in (out / "utt2num_frames").read_text().splitlines())
    for example in spoken:
        (alone,) = encoder([read_audio(example)])
        matrix = read_matrix(entries[example.utt_id])
        assert matrix.dtype == np.float32 and len(matrix) == int(frames[example.utt_id])
        np.testing.assert_allclose(matrix, alone, atol=1e-5)
        expected = encoder.encoder.output_lengths(torch.tensor([example.num_samples]))
        assert len(matrix) == int(expected)
    loaded = kaldiio.load_scp(str(out / "feats.scp"))
    np.testing.assert_array_equal(loaded["u5"], read_matrix(entries["u5"]))


def test_some_clips_at_a_time(encoder, examples, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    extract_features(examples, encoder, whole, BINS, 0.0)
    monkeypatch.setattr(features, "RANGE", 2)
    monkeypatch.setattr(sorting, "CHUNK", 3)
    assert extract_features(iter(examples), encoder, out, BINS, 0.0) == 7
    assert extract_features(iter(examples), encoder, out, BINS, 0.0) == 0
    one, other = (kaldiio.load_scp(str(path / "feats.scp")) for path in (whole, out))
    assert list(one) == list(other)
    for key in one:
        np.testing.assert_allclose(one[key], other[key], atol=1e-5)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_training_accepts_the_cache(encoder, examples, tmp_path):
    extract_features(examples, encoder, tmp_path, BINS, 0.0)
    base = dataclasses.asdict(encoder.encoder.base)
    fingerprint = {key: base[key] for key in ("config_sha256", "fingerprint")}
    assert set(load_feats([str(tmp_path)], fingerprint)) >= {"u1", "u7"}
    with pytest.raises(DataError, match="another encoder"):
        load_feats([str(tmp_path)], {**fingerprint, "fingerprint": "other"})


def test_a_replaced_file_is_encoded_anew(encoder, examples, data, tmp_path):
    extract_features(examples, encoder, tmp_path / "out", BINS, 0.0)
    audio = data.parent / "u1.wav"
    speech, rate = soundfile.read(audio, dtype="float32")
    soundfile.write(audio, speech[::-1], rate, subtype="FLOAT")
    assert extract_features(examples, encoder, tmp_path / "out", BINS, 0.0) == 1
    entries = dict(line.split() for line in (tmp_path / "out/feats.scp").read_text().splitlines())
    (expected,) = encoder([read_audio(str(audio))])
    for utt in ("u1", "u1-s2tt-en"):
        np.testing.assert_allclose(read_matrix(entries[utt]), expected, atol=1e-5)


def test_other_settings_are_another_encoder(config, encoder, examples, tmp_path):
    conf = {**config["encoder_conf"], "pad_to_30s": True}
    padded = Encoder.load(ModelConfig.from_mapping({**config, "encoder_conf": conf}, "x"), None)
    assert padded.identity["fingerprint"] == encoder.identity["fingerprint"]
    extract_features(examples, encoder, tmp_path, BINS, 0.0)
    own, other = ({"encoder_conf": e.identity["encoder_conf"]} for e in (encoder, padded))
    assert "u1" in load_feats([str(tmp_path)], own)
    with pytest.raises(DataError, match="another encoder"):
        load_feats([str(tmp_path)], other)
    # the identity of each cache decides alone whether it is kept
    same = Encoder(encoder.encoder, padded.identity)
    assert extract_features(examples, same, tmp_path, BINS, 0.0) == 7


class Dying(Encoder):
    def __init__(self, encoder, calls):
        super().__init__(encoder.encoder, encoder.identity)
        self.calls = calls

    def __call__(self, clips):
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return super().__call__(clips)


def test_resumes_after_a_kill(encoder, examples, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    extract_features(examples, encoder, whole, BINS, 0.0)
    with pytest.raises(KeyboardInterrupt):
        extract_features(examples, Dying(encoder, 2), out, BINS, 0.0)
    assert not (out / "feats.scp").exists()
    index = out / "feats.jsonl"
    done = index.read_bytes().count(b"\n")
    assert 1 <= done < 7
    index.write_bytes(index.read_bytes()[:-5])  # killed while the last line was written
    with (out / "feats.ark").open("ab") as file:
        file.write(b"half a matr")
    assert extract_features(examples, encoder, out, BINS, 0.0) == 7 - done + 1
    one, other = (kaldiio.load_scp(str(path / "feats.scp")) for path in (whole, out))
    assert set(one) == set(other)
    for key in one:
        np.testing.assert_allclose(one[key], other[key], atol=1e-5)
    assert extract_features(examples, Dying(encoder, 0), out, BINS, 0.0) == 0


def test_lines_of_the_index_that_are_untrue_do_not_come_back(encoder, examples, tmp_path):
    """Once the ark has grown beyond them, they would name whatever lies there."""
    extract_features(examples, encoder, tmp_path / "whole", BINS, 0.0)
    out = tmp_path / "out"
    extract_features(examples, encoder, out, BINS, 0.0)
    index, ark = out / "feats.jsonl", out / "feats.ark"
    stops = [json.loads(line)[3] for line in index.read_text().splitlines()]
    with ark.open("r+b") as file:
        file.truncate(stops[2])  # a disk that lost its last pages
    extract_features(examples[:1], encoder, out, BINS, 0.0)
    assert len(index.read_text().splitlines()) in (3, 4)
    with index.open("a") as file:
        file.write('["x", 1, 2]\n7\n')
    extract_features(examples, encoder, out, BINS, 0.0)
    one, other = (kaldiio.load_scp(str(path / "feats.scp")) for path in (tmp_path / "whole", out))
    assert set(one) == set(other)
    for key in one:
        np.testing.assert_allclose(one[key], other[key], atol=1e-5)


def test_another_encoder_starts_over(encoder, examples, tmp_path, caplog):
    extract_features(examples, encoder, tmp_path, BINS, 0.0)
    other = Encoder(encoder.encoder, {**encoder.identity, "fingerprint": "x"})
    assert extract_features(examples, other, tmp_path, BINS, 0.0) == 7
    assert "another encoder: starting over" in caplog.text
    assert json.loads((tmp_path / "encoder.json").read_text())["fingerprint"] == "x"


def test_bad_audio_is_named(encoder, examples, data, tmp_path):
    (data.parent / "u1.wav").write_bytes(b"")
    extract_features(examples, encoder, tmp_path / "out", BINS, 0.5)
    lines = (tmp_path / "out/failed.tsv").read_text().splitlines()
    assert lines == ["u1\tempty file", "u1-s2tt-en\tempty file"]
    assert len((tmp_path / "out/feats.scp").read_text().splitlines()) == 6
    with pytest.raises(DataError, match="2 of 8 utterances failed"):
        extract_features(examples, encoder, tmp_path / "out", BINS, 0.1)
    text = [example for example in examples if example.audio is None]
    with pytest.raises(DataError, match="no example with speech"):
        extract_features(text, encoder, tmp_path / "text", BINS, 0.1)


def test_what_the_encoder_does_not_bear_is_named(encoder, examples, tmp_path, caplog, monkeypatch):
    read = features.read_audio

    def broken(audio, segment):
        samples = read(audio, segment)
        return samples * np.nan if (audio, segment) == (bad.audio, bad.segment) else samples

    bad = next(example for example in examples if example.utt_id == "u5")
    monkeypatch.setattr(features, "read_audio", broken)
    extract_features(examples, encoder, tmp_path, BINS, 0.5)
    assert "u5: the encoder's output is not finite" in caplog.text
    assert (tmp_path / "failed.tsv").read_text() == "u5\tthe encoder's output is not finite\n"


def test_trained_encoder_is_another_encoder(config, encoder, tmp_path):
    from espnet_part.weights import write_weights

    parsed = ModelConfig.from_mapping(config, "x")
    base = {"base_models": [dataclasses.asdict(encoder.encoder.base)]}
    changed = {f"encoder.{n}": t + 1 for n, t in encoder.encoder.state_dict().items()}
    write_weights(tmp_path / "enc.safetensors", changed, base)
    trained = Encoder.load(parsed, tmp_path / "enc.safetensors")
    assert trained.identity["fingerprint"] != encoder.identity["fingerprint"]
    assert trained.identity["base_fingerprint"] == encoder.identity["fingerprint"]
    name = "layer_norm.weight"
    assert torch.equal(trained.encoder.state_dict()[name], changed[f"encoder.{name}"])

    write_weights(tmp_path / "adapter.safetensors", {"adapter.x": torch.zeros(1)}, base)
    same = Encoder.load(parsed, tmp_path / "adapter.safetensors")
    assert same.identity["fingerprint"] == encoder.identity["fingerprint"]

    write_weights(tmp_path / "wrong.safetensors", {"encoder.x": torch.zeros(1)}, base)
    with pytest.raises(DataError, match=r"the model lacks, such as encoder\.x"):
        Encoder.load(parsed, tmp_path / "wrong.safetensors")
    name = f"encoder.{name}"
    write_weights(tmp_path / "shape.safetensors", {name: torch.zeros(3)}, base)
    with pytest.raises(DataError, match="has the shape"):
        Encoder.load(parsed, tmp_path / "shape.safetensors")
    base["base_models"][0]["fingerprint"] = "other"
    write_weights(tmp_path / "other.safetensors", changed, base)
    with pytest.raises(DataError, match="another encoder"):
        Encoder.load(parsed, tmp_path / "other.safetensors")


def test_jobs_share_the_work_and_any_number_of_them_may_go_on(encoder, examples, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert extract_features(examples, encoder, whole, BINS, 0.0) == 7
    theirs = out / "encoder_of_mine.json"
    out.mkdir()
    theirs.write_text("{}")
    done = [extract_features(examples, encoder, out, BINS, 0.0, job, 3) for job in (1, 2)]
    assert sum(done) > 0  # which clips are whose depends on the names of their files
    with (out / "feats.1.jsonl").open("a") as file:
        file.write('["half a li')  # job 1 is at work
    left = 7 - sum(done)
    again = [extract_features(examples, encoder, out, BINS, 0.0, job, 2) for job in (1, 2)]
    assert sum(again) == left and not (out / "feats.scp").exists()
    assert extract_features(examples, encoder, out, BINS, 0.0) == 0
    one, other = (kaldiio.load_scp(str(path / "feats.scp")) for path in (whole, out))
    assert set(one) == set(other)
    arks = set(re.findall(r"/(feats\S*):", (out / "feats.scp").read_text()))
    assert arks and arks <= {"feats.1.ark", "feats.2.ark"}
    for key in one:
        np.testing.assert_allclose(one[key], other[key], atol=1e-5)
    assert (whole / "utt2num_frames").read_text() == (out / "utt2num_frames").read_text()

    another = Encoder(encoder.encoder, {**encoder.identity, "fingerprint": "x"})
    assert extract_features(examples, another, out, BINS, 0.0) == 7
    assert sorted(path.name for path in out.glob("*.ark")) == ["feats.ark"]
    assert theirs.exists()


def test_a_job_all_of_whose_clips_fail_has_failed(encoder, examples, data, tmp_path):
    """Such as on a GPU that is out of order; who joins the jobs would do all by himself."""
    (data.parent / "u1.wav").write_bytes(b"")
    of_one = [example for example in examples if example.audio == str(data.parent / "u1.wav")]
    with pytest.raises(DataError, match="all 1 clips of job 1 failed"):
        extract_features(of_one, encoder, tmp_path, BINS, 1.0, 1, 1)


def test_random_encoders_are_refused():
    with pytest.raises(ConfigError, match="weights are random"):
        Encoder.load(ModelConfig.from_mapping(MODEL, "x"), None)


def test_command(config, data, tmp_path, capsys):
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(config))
    arguments = ["--data_dir", str(data), "--model_config", str(path)]
    main([*arguments, "--out_dir", str(tmp_path / "out")])
    assert len((tmp_path / "out/feats.scp").read_text().splitlines()) == 7
    for wrong, message in (
        (["--batch_bins", "0"], "--batch_bins"),
        (["--part_init", "nowhere"], "nowhere: no such file"),
        (["--data_dir", "nowhere"], "nowhere"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*arguments, "--out_dir", str(tmp_path / "x"), *wrong])
        assert stopped.value.code == 1
        assert message in capsys.readouterr().err.splitlines()[-1]
