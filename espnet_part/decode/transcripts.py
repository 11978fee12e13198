"""Transcripts as text, JSON or subtitles, on standard output or in files."""

from __future__ import annotations

import io
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_part.decode.lines import one_line
from espnet_part.decode.subtitles import Cue, to_srt, to_vtt
from espnet_part.decode.transcribe import Transcript
from espnet_part.errors import ConfigError
from espnet_part.files import atomic_write
from espnet_part.scripts import parts_words

SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}
_SUBTITLES = {"srt": to_srt, "vtt": to_vtt}


def to_text(transcript: Transcript, tgt: str) -> str:
    """All of a file's text as one line; without any, its language may be unknown."""
    space = " " if not tgt or parts_words(tgt) else ""
    texts = (one_line(line.text) for line in transcript.lines)
    return space.join(text for text in texts if text)


def to_timed_text(transcript: Transcript) -> list[str]:
    """A line a window: "[0:00:01.20 - 0:00:03.96] text"."""
    return [
        f"[{_clock(line.start)} - {_clock(line.end)}] {one_line(line.text)}".rstrip()
        for line in transcript.lines
    ]


def to_subtitles(transcript: Transcript, form: str) -> str:
    """Subtitles of a file as "srt" or "vtt"."""
    return _SUBTITLES[form](Cue(*line[:3]) for line in transcript.lines)


def to_dict(transcript: Transcript, settings: dict[str, str]) -> dict[str, Any]:
    """A file's entry in JSON.

    Args:
        settings: model, task, lang and to; "" for languages that were to be detected.

    Returns:
        ``file`` and ``settings``, with ``lang_probability`` where the language was detected; either
        ``error``, or ``seconds``, ``text``, ``windows`` (each with ``start``, ``end`` in seconds,
        ``text``, ``score``: the log-probability, and perhaps ``words``), ``silences`` (start and end of
        what was skipped, which with the windows is everything), ``decode_seconds`` and
        ``real_time_factor``, which is that by ``seconds``.
    """
    head: dict[str, Any] = {"file": _shown(transcript.file.path), **settings}
    if transcript.language is not None:
        lang, probability = transcript.language
        head |= {"lang": lang, "to": settings["to"] or lang}
        head["lang_probability"] = round(probability, 4)
    if transcript.error is not None:
        return {**head, "error": transcript.error}
    rtf = transcript.decode_seconds / transcript.seconds
    return {
        **head,
        "seconds": round(transcript.seconds, 4),
        "text": to_text(transcript, head["to"]),
        "windows": [
            {
                "start": round(line.start, 4),
                "end": round(line.end, 4),
                "text": line.text,
                "score": round(line.score, 4),
                **({"words": [word.to_dict() for word in line.words]} if line.words else {}),
            }
            for line in transcript.lines
        ],
        "silences": [[round(edge, 4) for edge in pair] for pair in transcript.silences()],
        "decode_seconds": round(transcript.decode_seconds, 3),
        "real_time_factor": round(rtf, 5),
    }


class Output:
    """Where transcripts go.

    Args:
        form: a key of `SUFFIXES`.
        out: a file for all, or a directory for one file each; None for standard output.
        files: (path, name) of what will be transcribed, as `find_audio` gives them.
        settings: as `to_dict` takes them.
        timestamps: "text" has a line a window, with its time.

    Raises:
        ConfigError: several subtitles into one file, an output that would replace an input, or
            one that cannot be written.
    """

    def __init__(
        self,
        form: str,
        out: str | None,
        files: Sequence[tuple[Path, Path]],
        settings: dict[str, str],
        timestamps: bool = False,
    ):
        self.form, self.settings, self.timestamps = form, settings, timestamps
        self.prefix = len(files) > 1
        self.paths: dict[Path, Path] | None = None
        self.path: Path | None = None
        self.together: list[Transcript] = []
        if out is not None and (Path(out).is_dir() or out.endswith(os.sep)):
            self.paths = output_paths(files, Path(out), SUFFIXES[form])
            targets = set(self.paths.values())
        else:
            if form in _SUBTITLES and len(files) > 1:
                raise ConfigError(
                    f"{len(files)} files make as many files of subtitles: give a directory, --out DIR/"
                )
            self.path = None if out is None else Path(out)
            targets = set() if self.path is None else {self.path}
        if out is not None:
            _check_writable(Path(out))
        sources = {path.resolve() for path, _ in files}
        for target in targets:
            if target.resolve() in sources:
                raise ConfigError(f"--out: {target} would replace the audio")

    def add(self, transcript: Transcript) -> None:
        """Write a transcript, or keep it for the file of all of them."""
        if self.paths is not None:
            if transcript.error is None:
                _write(self.paths[transcript.file.path], self._content([transcript], False))
        elif self.path is None and self.form == "text":
            if transcript.error is None:
                _print(self._content([transcript], self.prefix))
        else:
            self.together.append(transcript)

    def close(self) -> None:
        """Write what was kept, if there is any text at all."""
        if all(transcript.error is not None for transcript in self.together):
            return
        content = self._content(self.together, self.prefix)
        if self.path is None:
            _print(content)
        else:
            _write(self.path, content)

    def _content(self, transcripts: Sequence[Transcript], prefix: bool) -> str:
        if self.form == "json":
            entries = [to_dict(transcript, self.settings) for transcript in transcripts]
            return json.dumps(entries, ensure_ascii=False, indent=1) + "\n"
        good = [transcript for transcript in transcripts if transcript.error is None]
        if self.form in _SUBTITLES:
            return "".join(to_subtitles(each, self.form) for each in good)
        lines = []
        for each in good:
            head = f"{one_line(_shown(each.file.path))}\t" if prefix else ""
            to = self.settings["to"] or (each.language.lang if each.language else "")
            texts = to_timed_text(each) if self.timestamps else [to_text(each, to)]
            lines += [f"{head}{text}\n" for text in texts]
        return "".join(lines)


def output_paths(files: Sequence[tuple[Path, Path]], out: Path, suffix: str) -> dict[Path, Path]:
    """A path in ``out`` for each file: as in the directory that was searched, with a new suffix.

    Where that would be the same for several files (a.wav and a.mp3), they keep their suffix
    (a.wav.srt and a.mp3.srt).

    Args:
        files: (path, name).

    Raises:
        ConfigError: even so two files would go to the same one.
    """
    often = Counter(name.with_suffix(suffix) for _, name in files)
    paths = {}
    for path, name in files:
        new = name.with_suffix(suffix)
        paths[path] = out / (new if often[new] == 1 else name.with_name(name.name + suffix))
    for path, count in Counter(paths.values()).items():
        if count > 1:
            raise ConfigError(f"--out: {count} of the files would be written to {path}")
    return paths


def _check_writable(path: Path) -> None:
    """Better now than after hours of work."""
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    if existing != path and not existing.is_dir():
        raise ConfigError(f"--out {path}: {existing} is not a directory")
    # a file is replaced, for which its directory counts
    if not os.access(existing if existing.is_dir() else existing.absolute().parent, os.W_OK):
        raise ConfigError(f"--out {path}: no permission to write there")


def _shown(path: Path) -> str:
    """A path as text; file systems allow names that are none."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def _write(path: Path, content: str) -> None:
    with atomic_write(path) as file:
        file.write(content)


def _print(content: str) -> None:
    from tqdm import tqdm

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8
    tqdm.write(content, file=sys.stdout, end="")  # a bar on the same terminal is drawn anew
    sys.stdout.flush()


def _clock(seconds: float) -> str:
    minutes, hundredths = divmod(round(seconds * 100), 6000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{hundredths // 100:02d}.{hundredths % 100:02d}"
