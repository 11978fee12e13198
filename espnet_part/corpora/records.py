"""Records of others' corpora, such as the samples of a WebDataset or lhotse's supervisions, as examples.

A record has values under names; which of them is the text, the language, the speaker and a translation is
for options to say. What cannot be used is counted and named.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espnet_part.corpora.languages import split_words
from espnet_part.corpora.ledger import Ledger
from espnet_part.corpora.writer import DirectoryWriter, direction
from espnet_part.data.datadir import Example
from espnet_part.data.language_codes import is_language, meant_language, say_language
from espnet_part.errors import ConfigError
from espnet_part.kaldi import CONTROL, MAX_LINE, is_id
from espnet_part.tasks import TASKS, Task, find_task


@dataclass(frozen=True, slots=True)
class Record:
    """A piece of speech and what is known of it.

    Attributes:
        name: becomes the id.
        values: texts, and mappings of more of them.
        audio, segment, num_samples: see `Example`.
    """

    name: str
    values: Mapping[str, Any]
    audio: str
    segment: tuple[float, float] | None = None
    num_samples: int | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """What is in a corpus and cannot become an example.

    Attributes:
        item: its name there.
        reason, detail: why.
        task, language: what it would have been; "" for all tasks that are wanted.
    """

    item: str
    reason: str
    detail: str = ""
    task: str = ""
    language: str = "?"


@dataclass(frozen=True, slots=True)
class Fields:
    """What the values of a record are.

    A field is a name, or names with dots between them; of several with commas the first that a record has is
    taken.

    Attributes:
        tasks: of the examples that are made of a record.
        text: field of what is said.
        lang: language of all records, or "".
        lang_from: field of the language, where ``lang`` is empty.
        spk: field of the speaker.
        translations: (its language, or the field of that; field of the text).
    """

    tasks: tuple[Task, ...]
    text: str
    lang: str
    lang_from: str
    spk: str
    translations: tuple[tuple[str, str], ...]


def add_options(parser: argparse.ArgumentParser, text: str, lang: str, spk: str) -> None:
    """Options of `Fields` and the directory.

    Args:
        text, lang, spk: fields by default.
    """
    parser.add_argument("--out", required=True, metavar="DIR", help="data directory to make")
    parser.add_argument("--task", default="asr", metavar="LIST", help="tasks, such as asr,s2tt")
    parser.add_argument(
        "--lang", default="", metavar="CODE", help="language of all speech, in place of --lang_from"
    )
    parser.add_argument("--lang_from", default=lang, metavar="FIELD", help="the language")
    parser.add_argument("--text_from", default=text, metavar="FIELD", help="what is said")
    parser.add_argument("--spk_from", default=spk, metavar="FIELD", help="the speaker")
    parser.add_argument(
        "--translation",
        nargs="+",
        default=[],
        metavar="LANG=FIELD",
        help="for tasks that translate: translations, each with its language or the field that names it",
    )


def read_options(args: argparse.Namespace) -> Fields:
    """What the options of `add_options` say.

    Raises:
        ConfigError: an unknown task or language, or a task without its text.
    """
    tasks = tuple(find_task(name, "--task") for name in split_words(args.task))
    if not tasks:
        raise ConfigError("--task: no task is given")
    if args.lang and not is_language(args.lang):
        raise ConfigError(f"--lang: unknown language {say_language(args.lang)}")
    translations = []
    for text in args.translation:
        language, equals, field = text.partition("=")
        if not (language and equals and field):
            raise ConfigError(
                f"--translation: must be LANG=FIELD, such as en=custom.english: {text}"
            )
        translations.append((language, field))
    for task in tasks:
        if task.writes == "other" and not translations:
            raise ConfigError(f"--task {task.name}: needs --translation LANG=FIELD")
    return Fields(
        tasks, args.text_from, args.lang, args.lang_from, args.spk_from, tuple(translations)
    )


def write_records(
    corpus: str, records: Iterable[Record | Unusable], fields: Fields, out: str | Path
) -> Ledger:
    """Make a data directory of records.

    ``dropped.tsv`` in it names what is not there and why, ``corpus.md`` counts it.

    Args:
        corpus: what it is called in ``corpus.md``.

    Raises:
        DataError: nothing is left, or ``out`` is something else.
    """
    ledger, split = Ledger(corpus), Path(out).name
    every = ",".join(task.name for task in fields.tasks)
    with DirectoryWriter(out, ledger) as writer:
        for record in records:
            found = [record] if isinstance(record, Unusable) else _examples(record, fields)
            for one in found:
                if isinstance(one, Example):
                    ledger.read(split, direction(one.lang, one.tgt), one.task)
                    writer.add(one)
                else:
                    tasks = one.task or every
                    for task in tasks.split(","):
                        ledger.read(split, one.language, task)
                    ledger.drop(split, one.language, one.item, one.reason, one.detail, tasks)
    return ledger


def _examples(record: Record, fields: Fields) -> Iterator[Example | Unusable]:
    name = "_".join(record.name.split())
    lang, wrong = _language(fields.lang, fields.lang_from, record)
    if record.audio.strip().startswith("|") or record.audio.strip().endswith("|"):
        wrong = Unusable(record.name, "a command instead of a file", record.audio)
    if wrong is not None:
        yield wrong
        return
    said = _text(record, fields.text)
    named = "_".join(_text(record, fields.spk).split())
    spk = named if is_id(named) and _fits_line(named) else None
    for task in fields.tasks:
        example = Example(name, task.name, lang, lang, said, said or None, spk=spk)
        if task.speech:
            example = replace(
                example,
                audio=record.audio,
                segment=record.segment,
                num_samples=record.num_samples,
            )
        if task.writes != "other":
            yield _checked(example if task.text else replace(example, src_text=None))
            continue
        for language, field in fields.translations:
            tgt, wrong = _language(language if is_language(language) else "", language, record)
            utt, text = f"{name}-{task.name}-{tgt}", _text(record, field)
            if wrong is not None:
                yield replace(wrong, task=task.name)
            else:
                yield _checked(replace(example, utt_id=utt, tgt=tgt, text=text))


def _checked(example: Example) -> Example | Unusable:
    why = _why_not(example)
    if why is None:
        return example
    languages = direction(example.lang, example.tgt)
    return Unusable(example.utt_id, *why, task=example.task, language=languages)


def _why_not(example: Example) -> tuple[str, str] | None:
    """Reason and detail."""
    e, task = example, TASKS[example.task]
    if not (is_id(e.utt_id) and _fits_line(e.utt_id)):
        return "no name for an utterance", ""
    if not _fits_line(e.audio or "") or (e.audio or "") != (e.audio or "").strip():
        return "odd name of a file", repr(e.audio)
    for what, text in (("text", e.text), ("source text", e.src_text or "")):
        if not text and (what == "text" or task.text):
            return f"no {what}", ""
        if not _fits_line(text):
            return f"{what} too long, or not Unicode", repr(text[:80])
    if why := task.why_not(e.lang, e.tgt):
        return "languages that the task does not have", why
    return None


def _fits_line(text: str) -> bool:
    try:
        return not CONTROL.search(text) and "\n" not in text and len(text.encode()) < MAX_LINE // 2
    except UnicodeEncodeError:  # half a pair of surrogates, which JSON may hold
        return False


def _language(fixed: str, field: str, record: Record) -> tuple[str, Unusable | None]:
    if fixed:
        return fixed, None
    named = _text(record, field)
    code = named if is_language(named) else meant_language(named) or ""
    if code:
        return code, None
    return "", Unusable(record.name, "unknown language", named or f"no {field}")


def _text(record: Record, fields: str) -> str:
    """The value of the first field that is there, in one line; "" where none is."""
    for field in fields.split(","):
        value: Any = record.values
        for part in field.strip().split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value == value:
            return " ".join(CONTROL.sub(" ", str(value)).split())
    return ""
