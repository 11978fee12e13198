"""Whisper from CTranslate2's format to a directory that transformers loads.

The names are those that CTranslate2's converter of Whisper writes: linear layers of queries, keys and
values are stacked in one there, and the biases of keys, which Whisper has not, are zeros.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espnet_part.convert.ctranslate2 import CTranslate2Model
from espnet_part.errors import DataError
from espnet_part.parsing import parse_json

Array = NDArray[Any]

_BLOCK = re.compile(r"(encoder|decoder)/layer_(\d+)/(.+)/(\w+)\Z")
_PARTS: dict[str, tuple[str, ...]] = {
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
_OUTSIDE = {
    "conv1": "conv1",
    "conv2": "conv2",
    "layer_norm": "layer_norm",
    "embeddings": "embed_tokens",
    "position_encodings": "embed_positions",
}
_ENDINGS = {"gamma": "weight", "beta": "bias", "encodings": "weight"}


def convert_weights(model: CTranslate2Model) -> dict[str, Array]:
    """The tensors of ``WhisperForConditionalGeneration`` by name; the head is tied and left out.

    Raises:
        DataError: another architecture, or a variable that Whisper has not.
    """
    if model.spec != "WhisperSpec":
        raise DataError(f"no Whisper: the model says that it is a {model.spec}")
    found: dict[str, Array] = {}
    for name, array in model.variables.items():
        if array.ndim == 0 or name == "decoder/projection/weight" or "alignment_" in name:
            continue  # settings of the engine, which the configuration says as well; the tied head
        for target, part in _targets(name, array):
            found[f"model.{target}"] = part
    return found


def _targets(name: str, array: Array) -> list[tuple[str, Array]]:
    """The transformers names of a variable, each with its rows of it."""
    if match := _BLOCK.match(name):
        side, layer, part, ending = match.groups()
        targets = _PARTS.get(part, ())
        rows = np.split(array, len(targets)) if targets else []
        ending = _ENDINGS.get(ending, ending)
        return [
            (f"{side}.layers.{layer}.{target}.{ending}", part)
            for target, part in zip(targets, rows, strict=True)
            if not (target.endswith("k_proj") and ending == "bias")
        ] or _unknown(name)
    side, part, ending = name.split("/") if name.count("/") == 2 else ("", "", "")
    if part not in _OUTSIDE:
        return _unknown(name)
    return [(f"{side}.{_OUTSIDE[part]}.{_ENDINGS.get(ending, ending)}", array)]


def _unknown(name: str) -> list[tuple[str, Array]]:
    raise DataError(f"a variable that Whisper has not: {name}")


def convert_config(weights: Mapping[str, Array], heads: int) -> dict[str, Any]:
    """``config.json`` by the shapes of the weights and the number of attention heads."""

    def layers(side: str) -> int:
        return 1 + max(
            int(m[1]) for n in weights if (m := re.match(rf"model\.{side}\.layers\.(\d+)", n))
        )

    vocabulary, width = weights["model.decoder.embed_tokens.weight"].shape
    inner = len(weights["model.encoder.layers.0.fc1.weight"])
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "vocab_size": vocabulary,
        "num_mel_bins": weights["model.encoder.conv1.weight"].shape[1],
        "d_model": width,
        "encoder_layers": layers("encoder"),
        "decoder_layers": layers("decoder"),
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": inner,
        "decoder_ffn_dim": inner,
        "max_source_positions": len(weights["model.encoder.embed_positions.weight"]),
        "max_target_positions": len(weights["model.decoder.embed_positions.weight"]),
    }


def write_whisper(
    model: CTranslate2Model, tokenizer: bytes, settings: Mapping[str, Any], out: Path
) -> None:
    """Write a model directory of transformers: weights as they are (float16), configuration,
    tokenizer, feature extractor and settings of decoding.

    Args:
        model: as `read_model` gives it. tokenizer: content of ``tokenizer.json``.
        settings: content of the package's ``config.json`` (suppressed tokens, alignment heads).
        out: an empty directory.

    Raises:
        DataError: no Whisper, or a tokenizer of another vocabulary.
    """
    from safetensors.numpy import save_file

    weights = convert_weights(model)
    heads = model.variables.get("encoder/num_heads")
    if heads is None:
        raise DataError("no Whisper: the number of attention heads is missing")
    try:
        config = convert_config(weights, int(heads))
    except (KeyError, ValueError) as error:
        raise DataError(f"no Whisper: lacks {error}") from None
    special = _special_tokens(tokenizer, config["vocab_size"])
    config |= {
        "dtype": "float16",
        "bos_token_id": special["<|endoftext|>"],
        "eos_token_id": special["<|endoftext|>"],
        "pad_token_id": special["<|endoftext|>"],
        "decoder_start_token_id": special["<|startoftranscript|>"],
    }
    languages = {
        name: number for name, number in special.items() if re.fullmatch(r"<\|[a-z]{2,3}\|>", name)
    }
    generation = {
        **{key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
        "decoder_start_token_id": config["decoder_start_token_id"],
        "max_length": config["max_target_positions"],
        "is_multilingual": bool(languages),
        "lang_to_id": languages,
        "task_to_id": {
            "transcribe": special["<|transcribe|>"],
            "translate": special["<|translate|>"],
        },
        "no_timestamps_token_id": special["<|notimestamps|>"],
        "return_timestamps": False,
        "suppress_tokens": list(settings.get("suppress_ids", [])),
        "begin_suppress_tokens": list(settings.get("suppress_ids_begin", [])),
        "alignment_heads": settings.get("alignment_heads"),
    }
    features = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": config["num_mel_bins"],
        "sampling_rate": 16000,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": 30,
        "padding_value": 0.0,
    }
    names = {"tokenizer_class": "WhisperTokenizer", "model_max_length": 448}
    for file, content in (
        ("config.json", config),
        ("generation_config.json", generation),
        ("preprocessor_config.json", features),
        ("tokenizer_config.json", names),
    ):
        (out / file).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (out / "tokenizer.json").write_bytes(tokenizer)
    arrays = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    save_file(arrays, out / "model.safetensors", {"format": "pt"})


def _special_tokens(tokenizer: bytes, vocabulary: int) -> dict[str, int]:
    added = parse_json(tokenizer.decode("utf-8", "replace"), "tokenizer.json").get(
        "added_tokens", []
    )
    special = {str(token["content"]): int(token["id"]) for token in added}
    needed = ("<|endoftext|>", "<|startoftranscript|>", "<|transcribe|>", "<|translate|>")
    missing = [name for name in (*needed, "<|notimestamps|>") if name not in special]
    if missing or max(special.values()) >= vocabulary:
        raise DataError(f"tokenizer.json is not that of this Whisper: {', '.join(missing)}")
    return special
