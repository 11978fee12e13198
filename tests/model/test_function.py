"""Digests of what a model computes beside its weights."""

from __future__ import annotations

from espnet_part.model.encoders.espnet.conf import ESPnetEncoderConf
from espnet_part.model.encoders.whisper.conf import WhisperEncoderConf
from espnet_part.model.function import conf_digest, function_digests
from tests.model.tiny import make_config


def test_the_digest_of_settings_sees_what_decides_the_output() -> None:
    one = conf_digest("whisper", WhisperEncoderConf(name="x"))
    assert one == conf_digest("whisper", WhisperEncoderConf(name="x", pad_to_30s=False))
    assert one == conf_digest("whisper", WhisperEncoderConf(name="y"))  # compared by its own hashes
    assert one != conf_digest("whisper", WhisperEncoderConf(name="x", pad_to_30s=True))
    batched = (ESPnetEncoderConf(train_config="x", batched=value) for value in (False, True))
    assert len({conf_digest("espnet", conf) for conf in batched}) == 2


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
