"""Whisper from CTranslate2's format: equal to the model that it was written from; damage is named."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import WhisperConfig, WhisperForConditionalGeneration

from espnet_part.convert.ctranslate2 import read_model
from espnet_part.convert.whisper import write_whisper
from espnet_part.errors import UserError

CONFIG = WhisperConfig(
    vocab_size=120,
    d_model=16,
    encoder_layers=2,
    decoder_layers=1,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=24,
    decoder_ffn_dim=24,
    num_mel_bins=8,
    max_source_positions=20,
    max_target_positions=12,
    pad_token_id=100,
    bos_token_id=100,
    eos_token_id=100,
    decoder_start_token_id=101,
)
TABLE = {"decoder/embeddings/weight": np.zeros((4, 2))}
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>"]
SPECIAL += ["<|notimestamps|>"]
TOKENIZER = json.dumps(
    {"added_tokens": [{"id": 100 + n, "content": name} for n, name in enumerate(SPECIAL)]}
).encode()


def variables(model: WhisperForConditionalGeneration) -> dict[str, np.ndarray[Any, Any]]:
    """A model's variables as CTranslate2's converter names and stacks them."""
    state = {n.removeprefix("model."): t.numpy() for n, t in model.state_dict().items()}
    found: dict[str, Any] = {}

    def norm(name: str, source: str) -> None:
        found[f"{name}/gamma"], found[f"{name}/beta"] = (
            state[f"{source}.weight"],
            state[f"{source}.bias"],
        )

    def linear(name: str, *sources: str) -> None:
        weights = [state[f"{s}.weight"] for s in sources]
        biases = [
            state.get(f"{s}.bias", np.zeros(len(w))) for s, w in zip(sources, weights, strict=True)
        ]
        found[f"{name}/weight"] = np.concatenate(weights)
        found[f"{name}/bias"] = np.concatenate(biases)

    for side, layers in (("encoder", 2), ("decoder", 1)):
        for number in range(layers):
            to, source = f"{side}/layer_{number}", f"{side}.layers.{number}"
            own = f"{source}.self_attn"
            norm(f"{to}/self_attention/layer_norm", f"{source}.self_attn_layer_norm")
            linear(f"{to}/self_attention/linear_0", *(f"{own}.{x}_proj" for x in "qkv"))
            linear(f"{to}/self_attention/linear_1", f"{own}.out_proj")
            if side == "decoder":
                cross = f"{source}.encoder_attn"
                norm(f"{to}/attention/layer_norm", f"{source}.encoder_attn_layer_norm")
                linear(f"{to}/attention/linear_0", f"{cross}.q_proj")
                linear(f"{to}/attention/linear_1", f"{cross}.k_proj", f"{cross}.v_proj")
                linear(f"{to}/attention/linear_2", f"{cross}.out_proj")
            norm(f"{to}/ffn/layer_norm", f"{source}.final_layer_norm")
            linear(f"{to}/ffn/linear_0", f"{source}.fc1")
            linear(f"{to}/ffn/linear_1", f"{source}.fc2")
        norm(f"{side}/layer_norm", f"{side}.layer_norm")
        found[f"{side}/position_encodings/encodings"] = state[f"{side}.embed_positions.weight"]
        found[f"{side}/num_heads"] = np.array(2)
    for name in ("conv1", "conv2"):
        found[f"encoder/{name}/weight"] = state[f"encoder.{name}.weight"]
        found[f"encoder/{name}/bias"] = state[f"encoder.{name}.bias"]
    found["decoder/embeddings/weight"] = state["decoder.embed_tokens.weight"]
    return found


def binary(found: dict[str, Any], spec: str = "WhisperSpec", version: int = 6) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    parts = [struct.pack("<I", version), text(spec), struct.pack("<II", 3, len(found))]
    for name, array in found.items():
        code, kind = (2, "<i2") if array.dtype.kind == "i" else (4, "<f2")
        data = array.astype(kind).tobytes()
        parts += [
            text(name),
            struct.pack("<B", array.ndim),
            struct.pack(f"<{array.ndim}I", *array.shape),
        ]
        parts += [struct.pack("<BI", code, len(data)), data]
    parts += [
        struct.pack("<I", 1),
        text("decoder/projection/weight"),
        text("decoder/embeddings/weight"),
    ]
    return b"".join(parts)


@pytest.fixture(scope="module")
def original() -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    return WhisperForConditionalGeneration(CONFIG).half().float().eval()


def write(content: bytes, out: Path, tokenizer: bytes = TOKENIZER) -> Path:
    out.mkdir(parents=True)
    (out.parent / "model.bin").write_bytes(content)
    settings = {"suppress_ids": [1, 2], "suppress_ids_begin": [3], "alignment_heads": [[0, 1]]}
    write_whisper(read_model(out.parent / "model.bin"), tokenizer, settings, out)
    return out


def test_the_model_computes_what_the_original_does(
    original: WhisperForConditionalGeneration, tmp_path: Path
) -> None:
    out = write(binary(variables(original)), tmp_path / "whisper")
    loaded = WhisperForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
    batch = {
        "input_features": torch.randn(2, 8, 40),
        "decoder_input_ids": torch.tensor([[101, 5]] * 2),
    }
    with torch.no_grad():
        torch.testing.assert_close(loaded(**batch).logits, original(**batch).logits)
    assert loaded.generation_config.lang_to_id == {"<|en|>": 102}
    assert loaded.generation_config.suppress_tokens == [1, 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "ends too early"),
        (b"PK\x03\x04 a zip", "no CTranslate2 model of version 6"),
        (binary({}, version=5), r"version 6 \(found 5\)"),
        (binary({}), "stands for decoder/embeddings/weight, which is not there"),
        (binary(TABLE, spec="TransformerSpec"), "says that it is a TransformerSpec"),
        (binary({**TABLE, "encoder/odd/weight": np.zeros(2)}), "Whisper has not: encoder/odd"),
        (binary(TABLE), "the number of attention heads is missing"),
        (binary({**TABLE, "encoder/num_heads": np.array(2)}), "no Whisper: lacks"),
    ],
)
def test_what_is_no_whisper_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        write(content, tmp_path / "out")


def test_another_tokenizer_is_refused(
    original: WhisperForConditionalGeneration, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"not that of this Whisper: <\|endoftext\|>"):
        write(binary(variables(original)), tmp_path / "out", b'{"added_tokens": []}')


@given(cut=st.integers(0, 3000), flipped=st.integers(0, 3000), bit=st.integers(0, 7))
def test_damage_is_an_error_of_one_line(
    original: WhisperForConditionalGeneration,
    tmp_path_factory: pytest.TempPathFactory,
    cut: int,
    flipped: int,
    bit: int,
) -> None:
    content = bytearray(binary(variables(original)))
    path = tmp_path_factory.mktemp("damaged") / "model.bin"
    path.write_bytes(content[:cut])
    with pytest.raises(UserError):
        read_model(path)
    content[flipped] ^= 1 << bit
    path.write_bytes(content)
    try:
        read_model(path)  # a bit of a number is not seen here: the packages' checksums tell it
    except UserError as error:
        assert "\n" not in str(error)
