"""A system's output, whatever wrote it: directories of ESPnet, plain text files, JSON Lines."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet_part.compare.espnet_directories import find_test_set, read_decoding, read_trn
from espnet_part.compare.jsonl import FOUND_BY_NAME, Keys, read_jsonl
from espnet_part.errors import ConfigError, DataError
from espnet_part.inputs import bad_input, open_input
from espnet_part.kaldi import read_table

SPECIAL_TOKENS = r"<(?!unk>|noise>)[^<>\s]+>"
"""What s2t1 (`<en><asr><notimestamps>`) and Whisper (`<|en|>`) write before the text."""

_TIMESTAMP = re.compile(r"<\|?\d+(?:\.\d+)?\|?>")


@dataclass(frozen=True)
class SystemOutput:
    """Hypotheses of one system on one test set, as they were found.

    Attributes:
        hypotheses: by the ids of the file, which need not be those of the references.
        references: what the system's files bring along, by the same ids; may be empty.
        source: which files were read, for the report.
        notes: what a reader of the figures has to know.
    """

    name: str
    path: Path
    source: str
    hypotheses: dict[str, str]
    references: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def parse_argument(argument: str) -> tuple[str, Path]:
    """Split `[name=]path`; without a name it is "", and a path may hold "="."""
    name, sign, path = argument.partition("=")
    if not sign or "/" in name or Path(argument).exists():
        return "", Path(argument)
    if not (name and path):
        raise ConfigError(f"must be [name=]path: {argument!r}")
    return name, Path(path)


def read_output(
    argument: str,
    test_set: str = "",
    keys: Keys = FOUND_BY_NAME,
    special_tokens: str = SPECIAL_TOKENS,
) -> SystemOutput:
    """Read what `[name=]path` stands for.

    Args:
        argument: a directory of ESPnet's asr1, st1 or s2t1 or of `part_inference`, with or without
            its test sets below; a file of lines "id text"; a trn file; or JSON Lines.
        test_set: which of a directory's several test sets is meant.
        keys: names of the keys of JSON Lines.
        special_tokens: regular expression of one token; a run of them at the beginning of a text
            is removed, and counted. Empty: nothing is removed.

    Raises:
        DataError: nothing there, or it cannot be read.
    """
    name, path = parse_argument(argument)
    if path.is_dir():
        output = _read_directory(find_test_set(path, test_set))
    elif path.is_file():
        output = _read_file(path, keys)
    else:
        raise DataError(f"{path}: no such file or directory")
    if not output.hypotheses:
        raise DataError(f"{path}: no hypotheses in {output.source}")
    if special_tokens:
        output = _without_special_tokens(output, special_tokens)
    return replace(output, name=name or output.name)


def _read_directory(directory: Path) -> SystemOutput:
    decoding = read_decoding(directory)
    notes = list(decoding.notes)
    if decoding.reference_source:
        notes.append(f"brings references in {decoding.reference_source}")
    return SystemOutput(
        _name_by_place(directory),
        directory,
        decoding.source,
        decoding.hypotheses,
        decoding.references,
        tuple(notes),
    )


def _name_by_place(directory: Path) -> str:
    """In `<exp>/<inference_tag>/<test set>` the first two name the system."""
    return "/".join(directory.resolve().parts[-3:-1])


def _read_file(path: Path, keys: Keys) -> SystemOutput:
    name = _name_by_place(path.parent) if path.name == "text" else path.stem
    if path.suffix in (".jsonl", ".json", ".ndjson") or _begins_json(path):
        rows = read_jsonl(path, keys)
        return SystemOutput(name, path, "JSON", rows.hypotheses, rows.references, tuple(rows.notes))
    if path.suffix == ".trn":
        return SystemOutput(name, path, "trn", read_trn(path))
    return SystemOutput(name, path, "lines id text", read_table(path))


def _begins_json(path: Path) -> bool:
    with bad_input(DataError, path), open_input(path) as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"["))


def _without_special_tokens(output: SystemOutput, pattern: str) -> SystemOutput:
    try:
        leading = re.compile(rf"\s*(?:(?:{pattern})\s*)+")
    except re.error as error:
        raise ConfigError(f"special_tokens: {pattern!r}: {error}") from None
    removed: Counter[str] = Counter()

    def clean(text: str) -> str:
        found = leading.match(text)
        if not found:
            return text
        removed["".join(found[0].split())] += 1
        # a text with such a beginning may also hold timestamps, at every utterance's edges
        return " ".join(_TIMESTAMP.sub(" ", text[found.end() :]).split())

    hypotheses = {key: clean(text) for key, text in output.hypotheses.items()}
    notes = output.notes
    if removed:
        kinds = ", ".join(f"`{kind}`" for kind, _ in removed.most_common(3))
        more = ", …" if len(removed) > 3 else ""
        notes += (f"special tokens removed from {removed.total()} hypotheses: {kinds}{more}",)
    references = {key: clean(text) for key, text in output.references.items()}
    return replace(output, hypotheses=hypotheses, references=references, notes=notes)
