"""What never trains, or not unless a selector names it outright."""

from __future__ import annotations

from collections.abc import Iterable

from espnet_part.errors import ConfigError
from espnet_part.model.config import LLMConf
from espnet_part.model.encoders import ENCODERS

NOT_SHARED = "parallel: fsdp2 does not share an LLM in 4 bits (llm_conf: quantization); use ddp"


def protected(encoder: str) -> tuple[str, ...]:
    """Prefixes of parameter names: the encoder kind's own, and the LLM's base weights."""
    return (*(f"encoder.{name}" for name in ENCODERS.conf(encoder).PROTECTED), "llm")


def check_quantized(llm: LLMConf, trained: Iterable[str]) -> None:
    """Refuse to train an LLM's own weights where its matrices are in 4 bits.

    Args:
        trained: full names of parameters.

    Raises:
        ConfigError: names the first of them.
    """
    if llm.quantization is None:
        return
    for name in sorted(trained):
        if name.startswith("llm.") and ".lora_" not in name:
            raise ConfigError(
                f"llm_conf: quantization: {llm.quantization}: a phase trains {name}; an LLM in 4 bits "
                "learns through `llm.lora` alone"
            )
