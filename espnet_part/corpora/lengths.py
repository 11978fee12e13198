"""How long audio says it is, from its header alone."""

from __future__ import annotations


def header_seconds(path: str) -> float | None:
    """The length that an audio file's header says; None where it cannot be read.

    A damaged file may be shorter than it says; only the formatting of audio reads all of it.
    """
    import soundfile

    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError):
        return None
    return info.frames / info.samplerate
