"""What never trains unless a selector names it outright."""

from __future__ import annotations

from espnet_part.model.encoders import ENCODERS


def protected(encoder: str) -> tuple[str, ...]:
    """Prefixes of parameter names: the encoder kind's own, and the LLM's base weights."""
    return (*(f"encoder.{name}" for name in ENCODERS.conf(encoder).PROTECTED), "llm")
