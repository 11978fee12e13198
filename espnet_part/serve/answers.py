"""Transcripts in the forms that OpenAI's clients know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from espnet_part.decode.detect import Guess
from espnet_part.decode.direction import Direction
from espnet_part.decode.lines import one_line
from espnet_part.decode.transcribe import Line, Transcript
from espnet_part.decode.transcripts import to_subtitles, to_text
from espnet_part.scripts import parts_words
from espnet_part.serve.model import Decoded
from espnet_part.tasks import TASKS

Segments = Sequence[tuple[Line, Decoded]]

TYPES = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}


def answer(form: str, transcript: Transcript, segments: Segments, direction: Direction) -> str:
    """The body of an answer in a form of `TYPES`."""
    if form in ("srt", "vtt"):
        return to_subtitles(transcript, form)
    text = to_text(transcript, direction.tgt)
    if form == "text":
        return f"{text}\n"
    if form == "json":
        return _dump({"text": text})
    return _dump(verbose(transcript, segments, direction))


def verbose(transcript: Transcript, segments: Segments, direction: Direction) -> dict[str, Any]:
    """OpenAI's ``verbose_json``."""
    return {
        "task": "transcribe" if TASKS[direction.task].transcribes else "translate",
        **languages(direction, transcript.language),
        "duration": round(transcript.seconds, 4),
        "text": to_text(transcript, direction.tgt),
        "segments": [
            segment(number, line, decoded) for number, (line, decoded) in enumerate(segments)
        ],
        **({"words": _words(segments)} if direction.words else {}),
    }


def languages(direction: Direction, found: Guess | None) -> dict[str, Any]:
    """The codes of the languages spoken and written, null where they are not known: nothing was said, say;
    and how sure the first is, where it was detected."""
    return {
        "language": direction.lang or None,
        **({"language_probability": round(found.probability, 4)} if found else {}),
        "to_language": direction.tgt or None,
    }


def _words(segments: Segments) -> list[dict[str, Any]]:
    return [word.to_dict() for line, _ in segments for word in line.words]


def segment(number: int, line: Line, decoded: Decoded) -> dict[str, Any]:
    """A window, whose times are seconds."""
    return {
        "id": number,
        "start": round(line.start, 4),
        "end": round(line.end, 4),
        "text": line.text,
        "tokens": decoded.tokens,
        "temperature": 0.0,
        "avg_logprob": round(decoded.average, 4),
    }


class Deltas:
    """What each window adds to the text; together they are `to_text`."""

    def __init__(self, tgt: str):
        self._space = " " if not tgt or parts_words(tgt) else ""
        self._begun = False

    def add(self, line: Line) -> str:
        text = one_line(line.text)
        if not text:
            return ""
        before = self._space if self._begun else ""
        self._begun = True
        return before + text


def event(kind: str, values: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return f"event: {kind}\ndata: {_dump({'type': kind, **values})}\n\n".encode()


def _dump(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)
