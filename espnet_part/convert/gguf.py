"""A causal LM from GGUF to a directory that transformers loads; transformers does the reading.

transformers reads GGUF and then refuses to save, since the weights were quantised: they are written here,
in the values that they have.
"""

from __future__ import annotations

from pathlib import Path

from espnet_part.display import plain
from espnet_part.errors import DataError


def write_causal_lm(gguf: Path, out: Path, dtype: str = "float16") -> None:
    """Convert a GGUF file.

    Args:
        gguf: of an architecture that transformers reads. out: an empty directory.
        dtype: of the weights that are written.

    Raises:
        DataError: no GGUF file, a damaged one, or an architecture that transformers does not read;
            the package ``gguf`` is missing.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, name = str(gguf.parent), gguf.name
    try:
        import gguf as _  # noqa: F401 (transformers' message does not say how to get it)
    except ImportError:
        raise DataError(
            "the package gguf is needed to read GGUF: tools/setup.sh --extras asterisk installs it"
        ) from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name)
        model = AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype=torch.float32)
    except Exception as error:  # of several libraries
        raise DataError(f"{gguf}: cannot be read: {plain(error, 300)}") from None
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = dtype
    tied = (
        set(getattr(model, "_tied_weights_keys", None) or ()) if config.tie_word_embeddings else ()
    )
    kind = getattr(torch, dtype)
    state = {k: v.to(kind).contiguous() for k, v in model.state_dict().items() if k not in tied}
    save_file(state, out / "model.safetensors", {"format": "pt"})
    config.save_pretrained(out)
    tokenizer.save_pretrained(out)
