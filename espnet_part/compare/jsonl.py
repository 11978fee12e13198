"""Hypotheses of JSON Lines, as Hugging Face scripts and NeMo write them: an object a line.

Which keys hold the id, the hypothesis and the reference is told by options, or found by their
names: the first of each list that the first object has. What was taken is always reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from espnet_part.errors import ConfigError, DataError
from espnet_part.inputs import read_text
from espnet_part.parsing import parse_json

ID_KEYS = ("id", "utt_id", "utterance_id", "key", "audio", "path", "file", "audio_filepath")
PATH_KEYS = ("audio", "path", "file", "audio_filepath")
"""Keys that hold a file; the id is then its name without directory and extension."""
HYPOTHESIS_KEYS = ("prediction", "pred_text", "hypothesis", "hyp", "transcription", "text")
REFERENCE_KEYS = ("reference", "ref", "sentence", "text")
"""`text` is the reference where another key holds the hypothesis, as in NeMo's manifests."""


@dataclass(frozen=True)
class Keys:
    """Names of the keys; None for those to be found."""

    id: str | None = None
    hypothesis: str | None = None
    reference: str | None = None


FOUND_BY_NAME = Keys()


@dataclass
class JsonLines:
    """What such a file holds, and the keys it was read by."""

    keys: Keys
    hypotheses: dict[str, str]
    references: dict[str, str]
    notes: list[str] = field(default_factory=list)


def read_jsonl(path: Path, keys: Keys = FOUND_BY_NAME) -> JsonLines:
    """Read a JSON Lines file, or one JSON list of objects.

    An object whose hypothesis is null or absent counts as one without a hypothesis.

    Raises:
        DataError: not JSON, no key for the id or the hypothesis, an object without an id, an id
            given twice.
    """
    rows = _read_rows(path)
    if not rows:
        raise DataError(f"{path}: empty")
    first = rows[0][1]
    id_key = _choose(path, first, keys.id, ID_KEYS, "id")
    hypothesis_key = _choose(path, first, keys.hypothesis, HYPOTHESIS_KEYS, "hypothesis")
    reference_key = keys.reference or next(
        (key for key in REFERENCE_KEYS if key in first and key != hypothesis_key), None
    )
    result = JsonLines(Keys(id_key, hypothesis_key, reference_key), {}, {})
    by_path = id_key in PATH_KEYS
    lacking = 0
    seen: set[str] = set()
    for number, row in rows:
        utterance = _identify(row.get(id_key), by_path)
        if not utterance:
            raise DataError(f"{path}: object {number}: no {id_key}")
        if utterance in seen:
            raise DataError(f"{path}: object {number}: the id {utterance} is given twice")
        seen.add(utterance)
        hypothesis = row.get(hypothesis_key)
        if hypothesis is None:
            lacking += 1
        else:
            result.hypotheses[utterance] = _one_line(hypothesis)
        if reference_key and row.get(reference_key) is not None:
            result.references[utterance] = _one_line(row[reference_key])
    taken = f"id from `{id_key}`" + (" (file name without extension)" if by_path else "")
    taken += f", hypothesis from `{hypothesis_key}`"
    result.notes.append(taken)
    if lacking:
        result.notes.append(f"{lacking} objects have no `{hypothesis_key}`")
    return result


def _choose(
    path: Path, row: dict[str, Any], wanted: str | None, known: tuple[str, ...], what: str
) -> str:
    found = [wanted] if wanted else [key for key in known if key in row]
    if not found or found[0] not in row:
        raise DataError(
            f"{path}: no key for the {what}: {wanted or ', '.join(known)}; the first object has "
            f"{', '.join(row)}; name it by --{what}_key"
        )
    return found[0]


def _identify(value: Any, by_path: bool) -> str:
    if isinstance(value, dict):  # a Hugging Face audio feature: {"path": …, "array": …}
        value = value.get("path")
    if value is None or isinstance(value, (list, dict)):
        return ""
    name = str(value).replace("\\", "/") if by_path else str(value)
    return (PurePosixPath(name).stem if by_path else name).strip()


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())


def _read_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    content = read_text(path)
    if content.lstrip().startswith("["):
        rows = list(enumerate(_parse(content, str(path)), 1))
    else:
        lines = enumerate(content.split("\n"), 1)
        rows = [(n, _parse(line, f"{path}: line {n}")) for n, line in lines if line.strip()]
    for number, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{path}: object {number} is a {type(row).__name__}, not an object")
    return rows


def _parse(text: str, where: str) -> Any:
    try:
        return parse_json(text, where)
    except ConfigError as error:  # data here, not configuration
        raise DataError(str(error)) from None
