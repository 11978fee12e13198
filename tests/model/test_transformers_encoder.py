"""Audio encoders of transformers against transformers' own feature extractors and models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoFeatureExtractor, AutoModel

from espnet_part.errors import ConfigError
from espnet_part.model.encoders.transformers.conf import TransformersEncoderConf
from espnet_part.model.encoders.transformers.module import TransformersEncoder, build
from espnet_part.schedule.selectors import select
from tests.model.tiny import make_batch, make_model, take_row

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
WAVE = {
    **SIZES,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
TOWER = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
CONFIGS: dict[str, dict[str, Any]] = {
    "wav2vec2": {"model_type": "wav2vec2", **WAVE},
    "xls-r": {"model_type": "wav2vec2", **WAVE, **STABLE},
    "hubert": {"model_type": "hubert", **WAVE},
    "wavlm": {"model_type": "wavlm", **WAVE},
    "unispeech": {"model_type": "unispeech", **WAVE},
    "unispeech-sat": {"model_type": "unispeech-sat", **WAVE},
    "w2v-bert": {"model_type": "wav2vec2-bert", **SIZES},
    "parakeet": {"model_type": "parakeet_encoder", **SIZES, "subsampling_conv_channels": 8},
    "qwen2-audio": {"model_type": "qwen2_audio_encoder", **TOWER},
    "audio-flamingo-3": {"model_type": "audioflamingo3_encoder", **TOWER},
    "voxtral": {"model_type": "voxtral_encoder", **TOWER},
    "qwen2.5-omni": {"model_type": "qwen2_5_omni_audio_encoder", **TOWER, "output_dim": 24},
    "qwen3-asr": {"model_type": "qwen3_asr_encoder", **TOWER, "downsample_hidden_size": 4},
    "moonshine": {
        "model_type": "moonshine",
        "hidden_size": 16,
        "encoder_num_hidden_layers": 2,
        "encoder_num_attention_heads": 2,
        "intermediate_size": 32,
    },
}
WHISPER_LIKE = ("qwen2-audio", "audio-flamingo-3", "voxtral")  # with a table of positions
LENGTHS = torch.tensor([16000, 9321, 12345, 100])


def make_encoder(name: str, **options: Any) -> TransformersEncoder:
    torch.manual_seed(0)
    return build(TransformersEncoderConf(config=CONFIGS[name], **options)).eval()


def make_clips() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    speech = torch.zeros(len(LENGTHS), int(LENGTHS.max()))
    for row, n in enumerate(LENGTHS):
        speech[row, :n] = torch.randn(int(n), generator=generator) * 0.1
    return speech


@torch.no_grad()
def transformers_own(encoder: TransformersEncoder, clip: Tensor, directory: Path) -> Tensor:
    """What transformers gives for one clip, through its own feature extractor."""
    path = directory / "preprocessor_config.json"
    path.write_text(json.dumps(encoder.features.settings()))
    extractor = AutoFeatureExtractor.from_pretrained(directory)
    read = extractor(clip.numpy(), sampling_rate=16000, return_tensors="pt")
    model = encoder.model
    kind = model.config.model_type
    if kind == "qwen2_5_omni_audio_encoder":
        frames = -(-len(clip) // 160)
        mel = read["input_features"][0, :, :frames]
        return model(mel, feature_lens=torch.tensor([frames])).last_hidden_state
    if kind == "qwen3_asr_encoder":  # as its processor calls the extractor
        options = {"padding": True, "return_attention_mask": True, "return_tensors": "pt"}
        read = extractor(clip.numpy(), sampling_rate=16000, **options)
        return model(read["input_features"], read["attention_mask"]).last_hidden_state
    if kind == "audioflamingo3_encoder":
        frames = -(-len(clip) // 160)
        mask = torch.arange(3000)[None] < frames
        states = model(read["input_features"], input_features_mask=mask).last_hidden_state
        return states[0, : int(model._get_feat_extract_output_lengths(torch.tensor(frames))[1])]
    if kind == "voxtral_encoder":
        keys = (-(-len(clip) // 160) - 1) // 2 + 1
        mask = torch.zeros(1, 1, 1500, 1500).masked_fill(torch.arange(1500) >= keys, -torch.inf)
        return model(read["input_features"], attention_mask=mask).last_hidden_state[0, :keys]
    if kind == "qwen2_audio_encoder":  # 30 s, of which the clip's part is a key
        keys = model._get_feat_extract_output_lengths(torch.tensor(-(-len(clip) // 160)))
        mask = torch.zeros(1, 1, 1500, 1500).masked_fill(torch.arange(1500) >= keys[0], -torch.inf)
        states = model(read["input_features"], attention_mask=mask).last_hidden_state
        return states[0, : int(keys[1])]
    if "attention_mask" in read and model.config.model_type in (
        "wav2vec2-bert",
        "parakeet_encoder",
    ):
        out = model(read["input_features"], attention_mask=read["attention_mask"])
        count = int(read["attention_mask"].sum())
        if "attention_mask" in out and out.attention_mask is not None:
            count = int(out.attention_mask.sum())
        return out.last_hidden_state[0, :count]
    return model(read["input_values"]).last_hidden_state[0]


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_batched_and_alone_it_gives_what_transformers_gives(name: str, tmp_path: Path) -> None:
    encoder, speech = make_encoder(name), make_clips()
    states, lengths = encoder(speech, LENGTHS)
    assert lengths.tolist() == encoder.output_lengths(LENGTHS).tolist()
    assert states.shape == (len(LENGTHS), int(lengths.max()), encoder.dim)
    for row, n in enumerate(LENGTHS):
        alone, own = encoder(speech[row : row + 1, :n], n[None])
        assert own[0] == lengths[row] == alone.shape[1] >= 1
        torch.testing.assert_close(states[row, : own[0]], alone[0], atol=2e-4, rtol=1e-3)
        assert not states[row, own[0] :].any()
        if n > 1000:
            expected = transformers_own(encoder, speech[row, :n], tmp_path)
            torch.testing.assert_close(alone[0], expected, atol=2e-3, rtol=1e-3)


def test_clips_beyond_a_window_are_cut_into_windows() -> None:
    encoder = make_encoder("qwen2-audio")
    samples = torch.tensor([480000 + 8000, 480000, 300])
    speech = torch.randn(3, 488000) * 0.1 * (torch.arange(488000) < samples[:, None])
    with torch.no_grad():
        states, lengths = encoder(speech, samples)
        tail, tail_lengths = encoder(speech[:1, 480000:], torch.tensor([8000]))
    assert lengths.tolist() == encoder.output_lengths(samples).tolist() == [762, 750, 1]
    assert tail_lengths.tolist() == [12]
    torch.testing.assert_close(states[0, 750:], tail[0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", CONFIGS)
def test_selectors_name_its_layers_alike(name: str) -> None:
    encoder = make_encoder(name)
    names = [n for n, _ in encoder.named_parameters(prefix="encoder")]
    top = select("encoder.layers[-1:]", names, ["encoder.model.embed_positions"])
    assert top and all(n.startswith("encoder.layers.1.") for n in top)
    assert not any(".encoder.layers." in n or "model.layers." in n for n in names)
    whole = select("encoder", names, ["encoder.model.embed_positions"])
    assert len(names) - len(whole) == (name in WHISPER_LIKE)


@pytest.mark.parametrize(
    "name",
    ["xls-r", "w2v-bert", "parakeet", *WHISPER_LIKE, "qwen2.5-omni", "qwen3-asr", "moonshine"],
)
def test_a_speech_llm_on_it_trains_with_and_without_speech(name: str) -> None:
    conf = {"config": CONFIGS[name], "gradient_checkpointing": True}
    model = make_model(encoder="transformers", encoder_conf=conf).train()
    for key, p in model.named_parameters():
        chosen = key.startswith(("encoder.", "adapter."))
        p.requires_grad_(chosen and "embed_positions" not in key)
    for clips in ([[8000], [4000, 6000]], [[], []]):
        model.zero_grad()
        model(**make_batch(clips)).loss.backward()
        assert not [k for k, p in model.named_parameters() if p.requires_grad and p.grad is None]


QFORMER: dict[str, Any] = {
    "speech_adapter": "qformer",
    "speech_adapter_conf": {"window": 7, "queries": 2, "dim": 16, "heads": 2, "ff": 32},
}


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
def test_with_a_qformer_it_learns_a_batch(name: str) -> None:
    conf = {"config": CONFIGS[name]}
    model = make_model(encoder="transformers", encoder_conf=conf, **QFORMER).train()
    model.adapter.match_scale(model.llm.embedding_std())
    trained = {
        key: p.requires_grad_(key.startswith(("encoder.", "adapter.")) or ".lora_" in key)
        for key, p in model.named_parameters()
    }
    optimizer = torch.optim.AdamW([p for p in trained.values() if p.requires_grad], lr=3e-3)
    batch = make_batch([[8000], [4000, 6000]])
    losses = []
    for _ in range(12):
        torch.manual_seed(0)  # the same dropout each time
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        for key, p in trained.items():
            assert not p.requires_grad or (p.grad is not None and p.grad.isfinite().all()), key
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-3:]) < 0.9 * losses[0], losses


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
@torch.no_grad()
def test_with_a_qformer_a_row_does_not_depend_on_its_batch(name: str) -> None:
    model = make_model(encoder="transformers", encoder_conf={"config": CONFIGS[name]}, **QFORMER)
    batch = make_batch([[8000], [4000, 6000], [700]])
    states, lengths = model.adapter(*model.encoder(batch["speech"], batch["speech_lengths"]))
    for row, samples in enumerate(batch["speech_lengths"]):
        clip = batch["speech"][row : row + 1, :samples]
        alone, own = model.adapter(*model.encoder(clip, samples[None]))
        assert own[0] == lengths[row]
        torch.testing.assert_close(states[row, : own[0]], alone[0], atol=1e-4, rtol=1e-3)
    alone = [model(**take_row(batch, row)).row_loss for row in range(3)]
    torch.testing.assert_close(model(**batch).row_loss, torch.cat(alone), atol=1e-3, rtol=1e-4)


def test_checkpointing_changes_no_gradient() -> None:
    plain, saving = make_encoder("xls-r"), make_encoder("xls-r", gradient_checkpointing=True)
    for encoder in (plain, saving):
        encoder(make_clips(), LENGTHS)[0].square().sum().backward()
    for one, two in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def save(encoder: TransformersEncoder, directory: Path, prefix: str = "", **config: Any) -> None:
    from safetensors.torch import save_file

    state = {
        f"{prefix}{k}".replace("parametrizations.weight.original0", "weight_g"): v.clone()
        for k, v in encoder.model.state_dict().items()
    }
    save_file({**state, "head.weight": torch.ones(2)}, directory / "model.safetensors")
    values = {**encoder.model.config.to_dict(), **config}
    (directory / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize("prefix", ["", "wav2vec2."])
def test_weights_are_found_in_a_model_that_contains_it(prefix: str, tmp_path: Path) -> None:
    encoder = make_encoder("xls-r")
    # code and quantisation that a configuration names are not looked at
    evil = {"_attn_implementation": "flash_attention_2", "auto_map": {"AutoModel": "evil.Model"}}
    save(encoder, tmp_path, prefix, **evil, quantization_config={"quant_method": "evil"})
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    loaded = build(TransformersEncoderConf(name=str(tmp_path))).eval()
    assert loaded.base is not None and loaded.base.fingerprint
    assert loaded.model.config._attn_implementation == "sdpa"
    assert not loaded.features.normalize
    loaded.features.normalize = True
    with torch.no_grad():
        expected, given = (e(make_clips(), LENGTHS)[0] for e in (encoder, loaded))
    torch.testing.assert_close(given, expected)


@pytest.mark.parametrize(
    ("name", "prefix", "kind", "sections"),
    [
        ("qwen2-audio", "audio_tower.", "qwen2_audio", ["audio_config"]),
        (
            "qwen2.5-omni",
            "thinker.audio_tower.",
            "qwen2_5_omni",
            ["thinker_config", "audio_config"],
        ),
        ("qwen3-asr", "model.audio_tower.", "qwen3_asr", ["audio_config"]),
        ("voxtral", "audio_tower.", "voxtral", ["audio_config"]),
    ],
)
def test_the_tower_of_a_speech_llm(
    name: str, prefix: str, kind: str, sections: list[str], tmp_path: Path
) -> None:
    encoder = make_encoder(name)
    save(encoder, tmp_path, prefix)
    config = json.loads((tmp_path / "config.json").read_text())
    for section, outer in zip(reversed(sections), [f"{kind}_thinker", kind], strict=False):
        config = {"model_type": outer if section != sections[0] else kind, section: config}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = build(TransformersEncoderConf(name=str(tmp_path)))
    state = encoder.model.state_dict()
    assert all(torch.equal(t, state[k]) for k, t in loaded.model.state_dict().items())


def test_the_encoder_of_moonshine_is_taken_out_of_it(tmp_path: Path) -> None:
    from transformers import CONFIG_MAPPING, AutoModelForSpeechSeq2Seq

    sizes = {**CONFIGS["moonshine"], "decoder_num_hidden_layers": 1}
    config = CONFIG_MAPPING["moonshine"].from_dict({**sizes, "decoder_num_attention_heads": 2})
    whole = AutoModelForSpeechSeq2Seq.from_config(config).eval()
    whole.save_pretrained(tmp_path)
    encoder = build(TransformersEncoderConf(name=str(tmp_path))).eval()
    speech = torch.randn(1, 20000) * 0.1
    with torch.no_grad():
        states, _ = encoder(speech, torch.tensor([20000]))
        torch.testing.assert_close(states, whole.model.encoder(speech).last_hidden_state)
    assert len(encoder.layers) == 2


@pytest.mark.parametrize("name", ["qwen2.5-omni", "qwen3-asr", "moonshine"])
@torch.no_grad()
def test_towers_without_a_window_read_clips_of_any_length(name: str, tmp_path: Path) -> None:
    encoder = make_encoder(name)
    samples = torch.tensor([16000 * 9 + 777, 16000 * 33 + 80, 16000 * 8])
    speech = torch.randn(3, int(samples.max())) * 0.1
    speech *= torch.arange(speech.shape[1]) < samples[:, None]
    states, lengths = encoder(speech, samples)
    assert lengths.tolist() == encoder.output_lengths(samples).tolist()
    for row, n in enumerate(samples):
        expected = transformers_own(encoder, speech[row, :n], tmp_path)
        torch.testing.assert_close(states[row, : lengths[row]], expected, atol=2e-3, rtol=1e-3)


def test_the_table_has_the_encoders_that_are_known() -> None:
    from espnet_part.model.encoders.transformers.module import _KNOWN

    table = Path(__file__).parents[2] / "docs/encoders.md"
    found = re.findall(r"^\| [^|]+ \| `([\w-]+)` \|", table.read_text("utf-8"), re.MULTILINE)
    assert found == ["model_type", *_KNOWN]


def test_an_exported_encoder_is_one_of_automodel(tmp_path: Path) -> None:
    from espnet_part.model.encoders.transformers.packing import export

    encoder = make_encoder("w2v-bert")
    conf = TransformersEncoderConf(config=CONFIGS["w2v-bert"])
    packed = export(encoder, conf, tmp_path)
    assert packed.conf == {"name": "."}
    theirs = AutoModel.from_pretrained(tmp_path)
    ours = build(TransformersEncoderConf(name=str(tmp_path)))
    for model in (theirs, ours.model):
        for key, tensor in encoder.model.state_dict().items():
            assert torch.equal(model.state_dict()[key], tensor), key


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "nonsense"}, "is no model of transformers"),
        ({"model_type": "data2vec-audio"}, "data2vec-audio is none of the audio encoders"),
        ({"model_type": "llama"}, "llama is none of"),
    ],
)
def test_what_is_no_known_audio_encoder_is_refused(config: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        build(TransformersEncoderConf(config=config))


def test_a_kernel_of_the_hub_is_refused(tmp_path: Path) -> None:
    save(make_encoder("hubert"), tmp_path, _attn_implementation="evil/kernel")
    with pytest.raises(ConfigError, match="evil/kernel"):
        build(TransformersEncoderConf(name=str(tmp_path)))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    encoder = make_encoder("hubert")
    del encoder.model.encoder.layer_norm
    save(encoder, tmp_path)
    with pytest.raises(
        ConfigError, match=r"2 weights are missing, e\.g\. encoder\.layer_norm\.bias"
    ):
        build(TransformersEncoderConf(name=str(tmp_path)))
