"""Digests of what a model computes beside its weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_part.errors import DataError
from espnet_part.model.encoders.espnet.conf import ESPnetEncoderConf
from espnet_part.model.encoders.transformers.conf import TransformersEncoderConf
from espnet_part.model.encoders.whisper.conf import WhisperEncoderConf
from espnet_part.model.function import conf_digest, function_digests
from espnet_part.train.checkpoint import check_function
from tests.model.tiny import make_config


def test_the_digest_of_settings_sees_what_decides_the_output() -> None:
    one = conf_digest("whisper", WhisperEncoderConf(name="x"))
    assert one == conf_digest("whisper", WhisperEncoderConf(name="x", pad_to_30s=False))
    assert one == conf_digest("whisper", WhisperEncoderConf(name="y"))  # compared by its own hashes
    assert one != conf_digest("whisper", WhisperEncoderConf(name="x", pad_to_30s=True))
    batched = (ESPnetEncoderConf(train_config="x", batched=value) for value in (False, True))
    assert len({conf_digest("espnet", conf) for conf in batched}) == 2


def test_what_the_models_own_file_decides_is_part_of_the_digest(tmp_path: Path) -> None:
    """Waveforms that are normalised are other waveforms, whoever says so."""

    def digest(says: str | None, **settings: bool) -> str:
        directory = tmp_path / str(says)
        directory.mkdir(exist_ok=True)
        if says is not None:
            (directory / "preprocessor_config.json").write_text(f'{{"do_normalize": {says}}}')
        conf = TransformersEncoderConf(name=str(directory), **settings)
        return conf_digest("transformers", conf)

    assert digest(None) == digest("true") == digest("false", normalize=True)
    assert digest("false") == digest(None, normalize=False) == digest("true", normalize=False)
    assert digest("false") != digest(None)


def test_weights_are_refused_without_the_file_that_their_model_had(tmp_path: Path) -> None:
    conf = TransformersEncoderConf(name=str(tmp_path))
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    trained_as = {"encoder": conf_digest("transformers", conf)}
    check_function({"encoder": conf_digest("transformers", conf)}, trained_as, [], "x.safetensors")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(DataError, match=r"settings of the encoder.*preprocessor_config\.json"):
        check_function(
            {"encoder": conf_digest("transformers", conf)}, trained_as, [], "x.safetensors"
        )


def test_two_kinds_with_the_same_settings_differ() -> None:
    assert conf_digest("one", WhisperEncoderConf(name="x")) != conf_digest(
        "two", WhisperEncoderConf(name="x")
    )
    linear = function_digests(make_config(speech_adapter="linear", speech_adapter_conf={}))
    qformer = function_digests(make_config(speech_adapter="qformer", speech_adapter_conf={}))
    assert linear["adapter"] != qformer["adapter"]
    assert linear["encoder"] == qformer["encoder"]


def test_digests_in_trained_weights_stay_what_they_were() -> None:
    """Weights on users' disks carry them: another value would refuse these weights."""
    assert conf_digest("whisper", WhisperEncoderConf(name="x")) == PLAIN_WHISPER
    assert conf_digest("whisper", WhisperEncoderConf(name="x", pad_to_30s=True)) == PADDED_WHISPER


PLAIN_WHISPER = "d370d6a6f369d60de135c4c1a2be460483cc227a4d0b98f68d20dc63c3d347cc"
PADDED_WHISPER = "619b6a7f7feee36f4b5d016a7d86793c661b3044162166282e99e0574efbd13c"
