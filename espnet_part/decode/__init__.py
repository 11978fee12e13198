"""Decoding. ``from espnet_part.decode import Speech2Text`` imports torch; the package does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_part.decode.speech2text import Hypothesis, Speech2Text

__all__ = ["Hypothesis", "Speech2Text"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from espnet_part.decode import speech2text

    return getattr(speech2text, name)
