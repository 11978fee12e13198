"""Audio of a few utterances inside a page: small, and in a form that every browser plays."""

from __future__ import annotations

import base64
import contextlib
import io
from pathlib import Path

import numpy as np

from espnet_part.data.audio import read_audio
from espnet_part.data.sources import find_source, is_url
from espnet_part.kaldi import iter_table
from espnet_part.report.systems import locate
from espnet_part.sample_rate import SAMPLE_RATE

LONGEST_SECONDS = 60.0
"""Of what is put into a page; a longer utterance is not heard there."""

Audio = tuple[str, tuple[float, float] | None]
"""What wav.scp names, and the part of it that ``segments`` names."""


def find_audio(data_dir: Path, utterances: set[str]) -> dict[str, Audio]:
    """Where the audio of some utterances is, by wav.scp and segments of a data directory.

    Raises:
        DataError: a table cannot be read.
    """
    segments: dict[str, tuple[str, float, float]] = {}
    if (data_dir / "segments").is_file():
        for _, name, value in iter_table(data_dir / "segments"):
            if name in utterances and len(value.split()) == 3:
                recording, start, end = value.split()
                with contextlib.suppress(ValueError):  # then it is found nowhere
                    segments[name] = (recording, float(start), float(end))
    wanted = {utt: segments[utt][0] if utt in segments else utt for utt in utterances}
    recordings = set(wanted.values())
    found = {
        name: value for _, name, value in iter_table(data_dir / "wav.scp") if name in recordings
    }
    return {
        utt: (
            found[name],
            segments[utt][1:] if utt in segments else None,
        )
        for utt, name in wanted.items()
        if name in found
    }


def load_player(audio: Audio, beneath: Path) -> str:
    """A data URI of Ogg with Opus, or of FLAC where libsndfile has no Opus.

    Args:
        beneath: a directory of the recipe, by which a relative path is found.

    Raises:
        BadAudio: it cannot be read, or is too long.
    """
    path, segment = audio
    place = find_source(path).container(path)
    if not (is_url(place) or place.endswith("|")):
        path = f"{locate(Path(place), beneath)}{path[len(place) :]}"
    return encode(read_audio(path, segment, max_seconds=LONGEST_SECONDS))


def encode(samples: np.ndarray, rate: int = SAMPLE_RATE) -> str:
    """Samples of one channel as a data URI."""
    import soundfile

    opus = "OPUS" in soundfile.available_subtypes("OGG")
    buffer = io.BytesIO()
    if opus:
        soundfile.write(buffer, samples, rate, format="OGG", subtype="OPUS")
    else:
        soundfile.write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
    content = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:audio/{'ogg' if opus else 'flac'};base64,{content}"
