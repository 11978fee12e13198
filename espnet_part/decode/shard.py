"""Decoding one shard of a test set: resumable, with every failure named."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from espnet_part.data.audio import BadAudio
from espnet_part.data.collate import Row
from espnet_part.data.datadir import DataDir, Example
from espnet_part.decode.failures import check_failures
from espnet_part.decode.records import Record, Records, write_shard
from espnet_part.decode.speech2text import Decoded, Hypothesis
from espnet_part.decode.time_left import Progress
from espnet_part.errors import ConfigError, DataError
from espnet_part.files import atomic_write
from espnet_part.kaldi import iter_table
from espnet_part.parsing import read_json_object
from espnet_part.sample_rate import SAMPLE_RATE

JOURNAL = "hypotheses.jsonl"
SETTINGS = "decode.json"
_HOPELESS = 20
"""So many failures in a row at the start mean that the model or the device is broken."""
_AHEAD = 16  # examples read while others are decoded
_TOLD = 16  # hypotheses that are written at once, at most
_TOLD_EVERY = 5.0  # seconds


class Decoder(Protocol):
    """What decodes: `Speech2Text`, or another system that is compared with it."""

    def prepare(self, example: Example, /) -> Row:
        """Read one example; raises `BadAudio`."""

    def decode_stream(self, rows: Iterable[Row], /) -> Iterator[Decoded]:
        """Decode prepared rows as they come, the longest first; a row that fails harms no other."""


def select_examples(
    data_dir: Path, key_file: Path | None
) -> tuple[list[Example], list[tuple[str, str]]]:
    """The examples of a shard, and (utterance, reason) of those that cannot be used.

    Args:
        data_dir: a data directory; `text` may be missing.
        key_file: utterance ids in the first column; None for the whole directory.

    Raises:
        DataError: the directory or the key file cannot be read, or names nothing.
    """
    examples, faults = DataDir.load(data_dir, need_text=False)
    general = [fault for fault in faults if fault.utt_id is None]
    if general:
        raise DataError("; ".join(str(fault) for fault in general[:3]))
    reasons = {fault.utt_id: f"{fault.kind} {fault.detail}".strip() for fault in faults}
    known = {example.utt_id: example for example in examples}
    if key_file is None:
        keys = [*known, *(utt for utt in reasons if utt not in known)]
    else:
        keys = list(dict.fromkeys(utt for _, utt, _ in iter_table(key_file)))
    if not keys:
        raise DataError(f"{key_file or data_dir}: names no utterance")
    bad = [(key, reasons.get(key, f"not in {data_dir}")) for key in keys if key not in known]
    return [known[key] for key in keys if key in known], [(str(key), why) for key, why in bad]


def decode_shard(
    examples: Sequence[Example],
    bad: Sequence[tuple[str, str]],
    output_dir: Path,
    load: Callable[[], Decoder],
    settings: dict[str, Any],
    max_bad_share: float,
) -> dict[str, float]:
    """Decode examples into ``output_dir``; what an earlier run has decoded is kept.

    Args:
        examples: in the order of the output's lines.
        bad: (utterance, reason) of further utterances that are failures from the start.
        load: gives the model; not called when nothing is left to decode.
        settings: what the hypotheses depend on; those of other settings are not kept.
        max_bad_share: with a larger share of failures an error ends the run, all files written.

    Returns:
        The content of rtf.json.

    Raises:
        DataError: nothing can be decoded, or too much failed.
    """
    written = Records(output_dir / JOURNAL)
    _open_settings(output_dir / SETTINGS, settings, written)
    sources = {example.utt_id: _hash(example) for example in examples}
    done = {
        utt: record
        for utt, record in written.read().items()
        if record.error is None and record.source == sources.get(utt)
    }
    # what failed is tried again: a full memory or a missing file may have been mended
    todo = [example for example in examples if example.utt_id not in done]
    if done:
        logging.info("%d utterances were decoded before, %d are left", len(done), len(todo))
    failed = {utt: Record(utt, "", error=reason) for utt, reason in bad}
    for utt, reason in bad:
        logging.warning("%s: %s", utt, reason)
    if todo:
        for records in _decode(todo, sources, load()):
            written.add(records)
            for record in records:
                (done if record.error is None else failed)[record.utt_id] = record
            if not done and len(failed) - len(bad) >= _HOPELESS:
                first = next(islice(failed.values(), len(bad), None))
                raise DataError(
                    f"the first {len(failed) - len(bad)} utterances all failed, such as "
                    f"{first.utt_id}: {first.error}"
                )
    order = [example.utt_id for example in examples] + [utt for utt, _ in bad]
    times = write_shard(output_dir, [(done.get(utt) or failed[utt]) for utt in order])
    check_failures(output_dir, len(failed), len(order), max_bad_share)
    return times


def _decode(
    examples: Sequence[Example], sources: dict[str, str], model: Decoder
) -> Iterator[list[Record]]:
    """Decode the longest first: memory that runs out does so at once."""
    ordered = sorted(examples, key=lambda e: (e.audio is None, -_cost(e), e.utt_id))
    done: list[Record] = []
    costs = {example.utt_id: _cost(example) for example in examples}
    with Progress(sum(costs.values()), len(examples)) as progress:
        start = told = time.perf_counter()
        for row, hypotheses, reason in model.decode_stream(_read(model, ordered, done)):
            now = time.perf_counter()
            source = sources[row.example.utt_id]
            done.append(_record(row, source, hypotheses, reason, now - start))
            start = now
            if len(done) >= _TOLD or now - told > _TOLD_EVERY:
                told = now
                yield _tell(done, costs, progress)
                done.clear()
        yield _tell(done, costs, progress)


def _read(model: Decoder, examples: Sequence[Example], failed: list[Record]) -> Iterator[Row]:
    """Read examples ahead of the decoding; records of those that cannot be read go to ``failed``."""
    todo = iter(examples)
    with ThreadPoolExecutor(1) as pool:
        ahead = deque((e, pool.submit(model.prepare, e)) for e in islice(todo, _AHEAD))
        while ahead:
            example, reading = ahead.popleft()
            try:
                row = reading.result()
            except BadAudio as error:
                failed.append(Record(example.utt_id, _hash(example), error=str(error)))
            else:
                yield row
            ahead.extend((e, pool.submit(model.prepare, e)) for e in islice(todo, 1))


def _tell(records: Sequence[Record], costs: dict[str, int], progress: Progress) -> list[Record]:
    for record in records:
        if record.error is not None:
            logging.warning("%s: %s", record.utt_id, record.error)
    progress.advance(sum(costs[record.utt_id] for record in records), len(records))
    return list(records)


def _record(
    row: Row, source: str, hypotheses: Sequence[Hypothesis], reason: str, seconds: float
) -> Record:
    if not hypotheses:
        return Record(row.example.utt_id, source, error=reason)
    best, *others = hypotheses
    return Record(
        utt_id=row.example.utt_id,
        source=source,
        text=best.text,
        tokens=tuple(best.tokens),
        token_int=tuple(best.token_int),
        score=best.score,
        others=tuple(map(tuple, others)),
        seconds=seconds,
        audio_seconds=0.0 if row.speech is None else len(row.speech) / SAMPLE_RATE,
    )


def _cost(example: Example) -> int:
    """About what an example costs, for sorting and for the estimate of the time left."""
    if example.audio is None:
        return 200 * len(example.src_text or "")  # a character is spoken in some 0.07 s
    if example.num_samples is not None:
        return example.num_samples
    if example.segment is not None:
        return round((example.segment[1] - example.segment[0]) * SAMPLE_RATE)
    return 5 * SAMPLE_RATE


def _hash(example: Example) -> str:
    """What a hypothesis was made from; the reference does not count."""
    content = (
        example.task,
        example.lang,
        example.tgt,
        example.src_text,
        example.audio,
        example.segment,
        example.num_samples,
    )
    return hashlib.blake2b(repr(content).encode(), digest_size=8).hexdigest()


def _open_settings(path: Path, settings: dict[str, Any], written: Records) -> None:
    """Forget hypotheses that were decoded with other settings."""
    try:
        before = read_json_object(path)
    except ConfigError:
        before = None
    if before == settings:
        return
    if before is not None:
        changed = [key for key in settings if before.get(key) != settings[key]]
        logging.warning(
            "%s: decoded with other settings (%s): starting over", path.parent, ", ".join(changed)
        )
    written.clear()
    for directory in path.parent.glob("*best_recog"):
        shutil.rmtree(directory)
    with atomic_write(path) as file:
        json.dump(settings, file, indent=1)
        file.write("\n")
