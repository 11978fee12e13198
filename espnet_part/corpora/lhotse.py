"""lhotse's manifests as data directories: cuts (Shar's, too), or supervisions with recordings.

The JSON lines are read here and not by lhotse, which imports torch and runs the commands that a manifest may
name as a source. An utterance is a supervision: its span of the recording, its text. What cannot be said in a
data directory, such as a mix of recordings, is named.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_part.archive import TarMember, list_tar
from espnet_part.corpora.records import Record, Unusable
from espnet_part.data.sources import is_url
from espnet_part.data.sources.tar import member
from espnet_part.errors import ConfigError, DataError
from espnet_part.inputs import bad_input, open_input
from espnet_part.parsing import parse_json
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.sorting import LineSorter

_LONGEST_LINE = 1 << 24
_TOLERANCE = 0.05  # seconds that a span may reach beyond its recording, as in `data.audio`
_WHOLE = 0.001  # seconds that a span may lack of a recording and still be all of it
_LONGEST = 1e9  # seconds
_SHAR = re.compile(r"cuts(\.\d+)\.jsonl(\.gz)?")


def read_cuts(
    manifests: Iterable[str], recordings: Sequence[str], root: str = ""
) -> Iterator[Record | Unusable]:
    """The supervisions of cuts.

    Args:
        manifests: JSON lines, also compressed (``.jsonl.gz``).
        recordings: manifests of recordings, for cuts that hold none.
        root: directory that relative paths are relative to.

    Raises:
        ConfigError: another format.
        DataError: a file cannot be read to its end; a line of ``recordings`` is no JSON.
    """
    places = ((manifest, _Audio(root, _shar_tar(manifest))) for manifest in manifests)
    cuts = ((*line, audio) for manifest, audio in places for line in _lines(manifest))
    return _read(cuts, recordings, root)


def read_supervisions(
    manifests: Iterable[str], recordings: Sequence[str], root: str = ""
) -> Iterator[Record | Unusable]:
    """Supervisions whose recordings are in a manifest of their own; see `read_cuts`."""
    audio = _Audio(root, "")

    def as_cut(supervision: dict[str, Any] | Unusable) -> dict[str, Any] | Unusable:
        if isinstance(supervision, Unusable):
            return supervision
        cut = {"start": 0, "channel": supervision.get("channel"), "type": "MonoCut"}
        return {**cut, "supervisions": [supervision]}

    lines = (line for manifest in manifests for line in _lines(manifest))
    return _read(((where, as_cut(found), audio) for where, found in lines), recordings, root)


def _read(
    cuts: Iterable[tuple[str, dict[str, Any] | Unusable, _Audio]],
    recordings: Sequence[str],
    root: str,
) -> Iterator[Record | Unusable]:
    """The utterances of cuts. Those whose recordings are elsewhere are sorted beside these on the disk."""
    with tempfile.TemporaryDirectory() as directory:
        lines = LineSorter(Path(directory, "run"))
        for manifest in recordings:
            for where, recording in _lines(manifest):
                if isinstance(recording, Unusable):
                    raise DataError(f"{where}: {recording.reason}: {recording.detail}")
                lines.add(_sortable(recording.get("id"), "", recording))
        for where, cut, audio in cuts:
            if isinstance(cut, Unusable):
                yield cut
            elif recordings and _is_of_others(cut):
                for said in cut["supervisions"]:
                    one = {**cut, "supervisions": [said]}
                    lines.add(_sortable(said.get("recording_id"), where, one))
            else:
                yield from _utterances(where, cut, audio)
        audio, name, known = _Audio(root, ""), b"", None
        for line in lines.merged():
            of, _, content = line.partition(b"\t")
            where, found = json.loads(content)
            if where:
                own = known if of == name else None
                yield from _utterances(where, {**found, "recording": own}, audio)
            else:  # before the cuts that are of it
                name, known = of, found


def _is_of_others(cut: dict[str, Any]) -> bool:
    """Whether a cut's recording may be in another manifest."""
    said = cut.get("supervisions")
    is_whole = isinstance(said, list) and all(isinstance(one, dict) for one in said)
    return cut.get("type") == "MonoCut" and not cut.get("recording") and is_whole and bool(said)


def _sortable(recording: Any, where: str, content: dict[str, Any]) -> bytes:
    return f"{json.dumps(str(recording))}\t{json.dumps([where, content])}\n".encode()


class _Wrong(Exception):
    """What cannot be said in a data directory."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail

    def of(self, item: str) -> Unusable:
        return Unusable(item, self.reason, self.detail)


def _lines(manifest: str) -> Iterator[tuple[str, dict[str, Any] | Unusable]]:
    """(file and line, object) of JSON lines."""
    if not manifest.endswith((".jsonl", ".jsonl.gz")):
        raise ConfigError(
            f"{manifest}: must end in .jsonl or .jsonl.gz; lhotse copy IN OUT.jsonl.gz"
        )
    with bad_input(DataError, manifest), open_input(manifest) as raw:
        file: Any = gzip.GzipFile(fileobj=raw) if manifest.endswith(".gz") else raw
        number = 0
        while line := file.readline(_LONGEST_LINE):
            number += 1
            where = f"{manifest}:{number}"
            if len(line) == _LONGEST_LINE:
                raise DataError(f"{where}: longer than {_LONGEST_LINE} bytes")
            if not line.strip():
                continue
            try:
                content = parse_json(line.decode("utf-8-sig"), where)
            except (ConfigError, UnicodeDecodeError) as error:
                yield where, Unusable(where, "no JSON", str(error))
                continue
            if isinstance(content, dict):
                yield where, content
            else:
                yield where, Unusable(where, "no manifest's line", type(content).__name__)


_KINDS = {
    "MixedCut": "a mix of cuts, or a padded one",
    "PaddingCut": "padding",
    "MultiCut": "several channels",
}


def _utterances(where: str, cut: dict[str, Any], audio: _Audio) -> Iterator[Record | Unusable]:
    name = str(cut.get("id") or where)
    supervisions = cut.get("supervisions")
    if (kind := cut.get("type")) != "MonoCut":
        yield Unusable(name, _KINDS.get(str(kind), "no cut"), str(kind))
    elif not isinstance(supervisions, list) or not supervisions:
        yield Unusable(name, "a cut without supervision")
    else:
        for supervision in supervisions:
            if not isinstance(supervision, dict):
                yield Unusable(name, "no supervision", type(supervision).__name__)
                continue
            try:
                yield _record(cut, supervision, audio)
            except _Wrong as wrong:
                yield wrong.of(str(supervision.get("id") or name))


def _record(cut: dict[str, Any], supervision: dict[str, Any], audio: _Audio) -> Record:
    recording = cut.get("recording")
    if not isinstance(recording, dict):
        if cut.get("features"):
            raise _Wrong("features without audio")
        raise _Wrong("no recording of this id", str(supervision.get("recording_id")))
    length = _seconds(recording, "duration")
    start = _seconds(cut, "start") + _seconds(supervision, "start")
    end = start + _seconds(supervision, "duration")
    if start < -_TOLERANCE or end > length + _TOLERANCE or end <= start:
        raise _Wrong("reaches beyond its recording", f"{start:g} to {end:g} s of {length:g} s")
    start, end = max(0.0, start), min(end, length)
    return Record(
        str(supervision.get("id") or ""),
        {**supervision, "cut": cut},
        audio.find(cut, recording),
        None if start <= _WHOLE and end >= length - _WHOLE else (start, end),
        round((end - start) * SAMPLE_RATE),
    )


class _Audio:
    """Finds what ``wav.scp`` is to say.

    Args:
        root: see `read_cuts`.
        tar: with the cuts' audio, in lhotse's Shar layout; "" where there is none.
    """

    def __init__(self, root: str, tar: str) -> None:
        self.root = root
        self.tar = tar
        self.fault = ""  # why the tar cannot be read, at least to its end

    def find(self, cut: dict[str, Any], recording: dict[str, Any]) -> str:
        """The entry for the one channel that a cut is of.

        Raises:
            _Wrong: there is none.
        """
        for transform in _listed(recording, "transforms"):
            name = transform.get("name") if isinstance(transform, dict) else None
            if name != "Resample":  # which happens here anyway
                raise _Wrong("audio that is changed when it is read", str(name))
        channel = cut.get("channel")
        for source in _listed(recording, "sources"):
            channels = source.get("channels") if isinstance(source, dict) else None
            if not isinstance(channels, list) or channel not in channels:
                continue
            if len(channels) > 1:
                raise _Wrong("one of several channels", f"{channel} of {channels}")
            return self._place(cut, source)
        raise _Wrong("no audio of the channel", str(channel))

    def _place(self, cut: dict[str, Any], source: dict[str, Any]) -> str:
        kind, place = source.get("type"), source.get("source")
        if kind == "shar":
            found = self._members.get(str(cut.get("id")))
            if found is None:
                raise _Wrong("no audio in the shard", self.fault or self.tar)
            return member(self.tar, found.offset, found.size)
        if kind not in ("file", "url") or not isinstance(place, str) or not place:
            raise _Wrong("a command, or another source that is no file", str(kind))
        return place if is_url(place) or not self.root else str(Path(self.root, place))

    @functools.cached_property
    def _members(self) -> dict[str, TarMember]:
        """The audio in the tar, by the cut's id; of a damaged one what stands before the fault."""
        found: dict[str, TarMember] = {}
        if not self.tar:
            return found
        try:
            with bad_input(DataError, self.tar), open_input(self.tar) as file:
                for one in list_tar(file, self.tar):
                    stem, _, kind = one.name.rpartition(".")
                    if one.kind == "file" and kind not in ("json", "nodata", "nometa"):
                        found[stem] = one
        except DataError as error:
            self.fault = str(error)
        return found


def _shar_tar(manifest: str) -> str:
    """The tar with the audio of cuts in lhotse's Shar layout; "" for other manifests."""
    path = Path(manifest)
    number = _SHAR.fullmatch(path.name)
    return str(path.with_name(f"recording{number[1]}.tar")) if number else ""


def _listed(values: Mapping[str, Any], name: str) -> list[Any]:
    value = values.get(name)
    if value is not None and not isinstance(value, list):
        raise _Wrong(f"no list of {name}", type(value).__name__)
    return value or []


def _seconds(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LONGEST:
        return float(value)
    raise _Wrong(f"no {name}", str(value)[:40])
