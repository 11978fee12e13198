"""Sounds like speech, and like a room."""

from __future__ import annotations

import numpy as np

RATE = 16000


def speech(seconds: float, seed: int = 0, level: float = -20.0) -> np.ndarray:
    """Noise whose level goes up and down five times a second, as syllables do."""
    samples = round(seconds * RATE)
    rng = np.random.default_rng(seed)
    syllables = 0.15 + 0.85 * np.abs(np.sin(np.pi * 5 * np.arange(samples) / RATE))
    return (10 ** (level / 20) * syllables * rng.standard_normal(samples)).astype(np.float32)


def room(seconds: float, seed: int = 0, level: float = -60.0) -> np.ndarray:
    """Quiet noise, as a room has it."""
    rng = np.random.default_rng(seed + 999)
    noise = 10 ** (level / 20) * rng.standard_normal(round(seconds * RATE))
    return noise.astype(np.float32)
