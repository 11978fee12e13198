"""The Whisper encoder against transformers' own, and its freedom from padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperModel,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder as Reference

from espnet_part.errors import ConfigError
from espnet_part.model.encoders.whisper.conf import WhisperEncoderConf
from espnet_part.model.encoders.whisper.module import LogMel, WhisperEncoder

SIZES = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
}
WINDOW = 480000


def make_encoder(bins: int = 80, **options: Any) -> WhisperEncoder:
    torch.manual_seed(0)
    conf = WhisperEncoderConf(config={**SIZES, "num_mel_bins": bins}, **options)
    return WhisperEncoder.from_conf(conf).eval()


def make_batch(*lengths: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    speech = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        # rising, so that the loudest frame is the one at the clip's very end
        ramp = torch.linspace(0.01, 0.5, length)
        speech[row, :length] = torch.randn(length, generator=generator) * ramp
    return speech, torch.tensor(lengths)


def features(speech: Tensor, bins: int) -> Tensor:
    extractor = WhisperFeatureExtractor(feature_size=bins)
    clips = [np.asarray(clip) for clip in speech]
    out = extractor(clips, sampling_rate=16000, return_tensors="np")["input_features"]
    return torch.from_numpy(out)


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("length", [100, 16001, 479700, 479990, WINDOW])
def test_log_mel_equals_the_feature_extractor(bins: int, length: int) -> None:
    speech, _ = make_batch(length)
    frames = -(-length // 160)
    expected = features(speech, bins)[..., :frames]
    torch.testing.assert_close(
        LogMel(bins, WINDOW)(speech)[..., :frames], expected, atol=1e-5, rtol=0
    )


def reference_states(encoder: WhisperEncoder, speech: Tensor) -> Tensor:
    reference = Reference(encoder.config).eval()
    reference.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        return reference(features(speech, encoder.num_mel_bins)).last_hidden_state


@pytest.mark.parametrize("bins", [80, 128])
def test_full_window_equals_transformers(bins: int) -> None:
    encoder = make_encoder(bins)
    speech, lengths = make_batch(WINDOW, WINDOW)
    with torch.no_grad():
        states, state_lengths = encoder(speech, lengths)
    assert state_lengths.tolist() == [1500, 1500]
    assert (states - reference_states(encoder, speech)).abs().max() <= 1e-5


def test_pad_to_30s_is_the_pretrained_condition() -> None:
    encoder = make_encoder(pad_to_30s=True)
    speech, lengths = make_batch(20000, 16001)
    with torch.no_grad():
        states, state_lengths = encoder(speech, lengths)
    expected = reference_states(encoder, speech)
    assert state_lengths.tolist() == [63, 51]
    for row, length in enumerate(state_lengths):
        assert (states[row, :length] - expected[row, :length]).abs().max() <= 1e-5


def test_silence_behind_a_clip_is_as_if_it_had_been_recorded() -> None:
    encoder, plain = make_encoder(silence=2.0), make_encoder()
    plain.load_state_dict(encoder.state_dict())
    speech, lengths = make_batch(20000, 16001, WINDOW - 8000)
    with torch.no_grad():
        states, state_lengths = encoder(speech, lengths)
        assert state_lengths.tolist() == plain.output_lengths(lengths).tolist()
        for row, (samples, length) in enumerate(zip(lengths, state_lengths, strict=True)):
            clip = torch.zeros(1, min(int(samples) + 32000, WINDOW))
            clip[0, :samples] = speech[row, :samples]
            expected, _ = plain(clip, torch.tensor([clip.shape[1]]))
            torch.testing.assert_close(
                states[row, :length], expected[0, :length], atol=1e-5, rtol=0
            )
        without, _ = plain(speech, lengths)
    assert (states - without)[1, :51].abs().max() > 1e-3


@pytest.mark.parametrize("options", [{}, {"silence": 0.7}, {"pad_to_30s": True}])
def test_peer_defect_01_states_do_not_depend_on_the_batch(options: dict[str, Any]) -> None:
    encoder = make_encoder(**options)
    speech, lengths = make_batch(30000, WINDOW + 5000, 7, 16123)
    with torch.no_grad():
        states, state_lengths = encoder(speech, lengths)
        assert state_lengths.tolist() == encoder.output_lengths(lengths).tolist()
        for row, length in enumerate(state_lengths):
            clip = speech[row : row + 1, : lengths[row]]
            alone, _ = encoder(clip, lengths[row : row + 1])
            torch.testing.assert_close(states[row, :length], alone[0], atol=1e-5, rtol=0)
            assert not states[row, length:].any()


def test_specaug_masks_the_spectrogram_in_training_alone() -> None:
    masks = {"apply_time_warp": False, "num_time_mask": 0, "apply_time_mask": False}
    encoder = make_encoder(specaug_conf={**masks, "freq_mask_width_range": 30, "num_freq_mask": 2})
    plain = make_encoder()
    plain.load_state_dict(encoder.state_dict())
    speech, lengths = make_batch(16000, 9000)
    heard: list[Tensor] = []
    encoder.conv1.register_forward_hook(lambda _, args, __: heard.append(args[0]))
    with torch.no_grad():
        torch.testing.assert_close(encoder(speech, lengths)[0], plain(speech, lengths)[0])
        torch.manual_seed(3)
        encoder.train()
        encoder(speech, lengths)
    whole, masked = heard
    changed = (whole != masked).any(dim=2)  # (clip, bin)
    assert 0 < changed.sum() <= 2 * 2 * 30
    assert (masked[changed] == 0).all()
    with torch.device("meta"):  # a model that is only described
        assert make_encoder(specaug_conf={**masks, "num_freq_mask": 1}).specaug is not None
    with pytest.raises(ValueError, match=r"specaug_conf.num_time_masks.*num_time_mask"):
        make_encoder(specaug_conf={"num_time_masks": 2})
    for wrong in ({"num_time_mask": "2"}, {"num_time_mask": -2}, {"time_warp_mode": "nonsense"}):
        with pytest.raises(ConfigError, match=r"specaug_conf: \w+"):
            make_encoder(specaug_conf=wrong)
    with pytest.raises(ConfigError, match="specaug_conf"):
        make_encoder(
            specaug_conf={
                "apply_freq_mask": False,
                "apply_time_mask": False,
                "apply_time_warp": False,
            }
        )


def test_peer_defect_10_nothing_is_computed_beyond_the_longest_clip() -> None:
    encoder = make_encoder()
    shapes: list[torch.Size] = []
    encoder.layers[0].register_forward_hook(lambda _, args, __: shapes.append(args[0].shape))
    speech, lengths = make_batch(16000, 32000)
    # a collator may pad further; nothing is computed for that
    encoder(torch.nn.functional.pad(speech, (0, 100000)), lengths)
    assert shapes == [torch.Size([2, 100, 32])]


def test_long_clips_are_their_windows_joined() -> None:
    encoder = make_encoder()
    speech, lengths = make_batch(2 * WINDOW + 3200)
    with torch.no_grad():
        states, state_lengths = encoder(speech, lengths)
        parts = [
            encoder(part, torch.tensor([part.shape[1]]))[0] for part in speech.split(WINDOW, dim=1)
        ]
    assert state_lengths.tolist() == [3010]
    torch.testing.assert_close(states, torch.cat(parts, dim=1), atol=1e-5, rtol=0)


def test_says_its_sizes() -> None:
    encoder = make_encoder()
    assert (encoder.dim, len(encoder.layers)) == (32, 2)
    lengths = torch.tensor([0, 1, 320, 321, WINDOW, WINDOW + 1])
    assert encoder.output_lengths(lengths).tolist() == [1, 1, 1, 2, 1500, 1501]
    assert not encoder.embed_positions.weight.requires_grad
    assert "layers.1.fc1.weight" in dict(encoder.named_parameters())


def test_no_dropout_and_no_graph_in_the_frozen_prefix() -> None:
    torch.manual_seed(0)
    conf = WhisperEncoderConf(config={**SIZES, "dropout": 0.5, "encoder_layers": 2})
    encoder = WhisperEncoder.from_conf(conf).requires_grad_(False)
    encoder.layers[1].requires_grad_(True)
    encoder.train()
    encoder.layers[0].eval()
    into_last: list[Tensor] = []
    encoder.layers[1].register_forward_hook(lambda _, args, __: into_last.append(args[0]))
    speech, lengths = make_batch(3000, 2000)
    encoder(speech, lengths)
    states, _ = encoder(speech, lengths)
    assert torch.equal(into_last[0], into_last[1])
    assert not into_last[0].requires_grad
    assert states.requires_grad


def test_gradient_checkpointing_recomputes_and_changes_nothing() -> None:
    speech, lengths = make_batch(3000, 2000)
    gradients = []
    for on in (False, True):
        encoder = make_encoder(gradient_checkpointing=on)
        calls: list[int] = []
        encoder.layers[0].fc1.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        encoder(speech, lengths)[0].square().sum().backward()
        assert len(calls) == (2 if on else 1)
        gradients.append(encoder.conv1.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("kind", ["whole", "with_head", "encoder"])
def test_loads_only_the_encoder_of_a_checkpoint(tmp_path: Path, kind: str) -> None:
    config = WhisperConfig(
        **SIZES, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=8, vocab_size=60000
    )
    if kind == "encoder":
        model: torch.nn.Module = WhisperEncoder(config)
        expected = model
    else:
        model = (WhisperModel if kind == "whole" else WhisperForConditionalGeneration)(config)
        expected = model.get_encoder()
    model.save_pretrained(tmp_path)
    encoder = WhisperEncoder.from_conf(WhisperEncoderConf(name=str(tmp_path)))
    for name, weight in expected.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], weight), name
    assert encoder.base is not None and encoder.base.name == str(tmp_path)
    assert encoder.base.fingerprint


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    encoder = make_encoder()
    encoder.save_pretrained(tmp_path)
    state = {key: value.contiguous() for key, value in encoder.state_dict().items()}
    del state["layers.0.fc1.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"1 weights are missing, e\.g\. layers\.0\.fc1\.weight"):
        WhisperEncoder.from_conf(WhisperEncoderConf(name=str(tmp_path)))


def test_wrong_directories_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such model directory"):
        WhisperEncoder.from_conf(WhisperEncoderConf(name=str(tmp_path / "none")))
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        WhisperEncoder.from_conf(WhisperEncoderConf(name=str(tmp_path)))
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(ConfigError, match="not Whisper"):
        WhisperEncoder.from_conf(WhisperEncoderConf(name=str(tmp_path)))


def test_autocast_keeps_the_features_in_float32() -> None:
    encoder = make_encoder()
    speech, lengths = make_batch(3000, 2000)
    with torch.no_grad():
        expected, _ = encoder(speech, lengths)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states, _ = encoder(speech, lengths)
    assert (states.float() - expected).abs().max() < 0.1 * expected.abs().max()
