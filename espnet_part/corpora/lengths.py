"""How long audio says it is, from its header alone."""

from __future__ import annotations

from pathlib import Path

from espnet_part.data.audio import NO_LENGTH, BadAudio, open_sound


def header_seconds(path: str) -> float | None:
    """The length that an audio file's header says; None where it cannot be read.

    A damaged file may be shorter than it says; only the formatting of audio reads all of it.
    """
    try:
        with open_sound(Path(path)) as sound:
            return sound.frames / sound.samplerate if sound.frames < NO_LENGTH else None
    except BadAudio:
        return None
