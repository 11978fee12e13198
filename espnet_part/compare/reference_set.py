"""What systems are compared with: a data directory, or references that systems bring along."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet_part.compare.readers import SystemOutput
from espnet_part.errors import ConfigError, DataError
from espnet_part.files import atomic_write
from espnet_part.inputs import read_text
from espnet_part.kaldi import read_table, write_table
from espnet_part.parsing import read_json
from espnet_part.report.systems import locate
from espnet_part.score.references import GroupKey, read_references
from espnet_part.tasks import find_task

_TABLES = ("text", "utt2task", "utt2lang", "utt2tgt", "utt2spk", "utt2num_samples")


@dataclass(frozen=True)
class ReferenceSet:
    """References in the form of a data directory, which the scorer reads.

    Attributes:
        directory: holds `text`, `utt2task`, `utt2lang` and `utt2tgt`.
        origin: where they come from, for people.
        groups: utterance ids by task and languages.
        others: ids of the origin that were left out by a choice of tasks or languages.
    """

    directory: Path
    origin: str
    groups: dict[GroupKey, list[str]]
    others: frozenset[str] = frozenset()
    speakers: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def utterances(self) -> list[str]:
        return [utterance for group in self.groups.values() for utterance in group]


def from_directory(
    ref_dir: Path, work_dir: Path, tasks: Collection[str] | None, langs: Collection[str] | None
) -> ReferenceSet:
    """References of a data directory, all or those of some tasks and languages.

    Args:
        work_dir: where a directory with the chosen ones is made, where ``langs`` chooses.
        langs: languages heard or read.

    Raises:
        DataError: a file is missing or faulty, or there is no utterance of a task or language.
    """
    chosen = read_references(ref_dir, tasks)
    groups = {
        key: utterances for key, utterances in chosen.groups.items() if not langs or key[1] in langs
    }
    known = {source for _, source, _ in chosen.groups}
    absent = [code for code in langs or () if code not in known]
    if absent:
        raise DataError(
            f"{ref_dir}: no utterance in {', '.join(absent)}; it has {', '.join(sorted(known))}"
        )
    kept = {utterance for group in groups.values() for utterance in group}
    directory = ref_dir
    if langs:
        directory = work_dir
        _copy_chosen(ref_dir, directory, kept)
    speakers = ref_dir / "utt2spk"
    return ReferenceSet(
        directory,
        f"`{ref_dir}`",
        groups,
        frozenset(read_table(ref_dir / "text")) - kept,
        read_table(speakers) if speakers.is_file() else {},
    )


def from_systems(
    outputs: Sequence[SystemOutput], work_dir: Path, task: str, lang: str, tgt_lang: str
) -> ReferenceSet:
    """The references that the first system with any brings along; others' are held against them.

    Args:
        work_dir: where a data directory is made of them.
        task: a name of `tasks.TASKS`.
        lang: the language heard.
        tgt_lang: the language written; "" for that heard, where the task allows.

    Raises:
        ConfigError: task or language is not told, or no system brings references.
    """
    source = next((output for output in outputs if output.references), None)
    if source is None:
        raise ConfigError("no system brings references along; give them by --ref_dir")
    if not (task and lang):
        raise ConfigError(
            f"the references of {source.name} do not tell task and language: give --task and "
            "--lang (and --tgt_lang), or --ref_dir"
        )
    of = find_task(task, "--task")
    target = of.target(lang, tgt_lang)
    if not target or of.why_not(lang, target):
        raise ConfigError(
            f"task {task} from {lang} into {target or lang}: give --tgt_lang as it needs"
        )
    references = source.references
    values = {"utt2task": task, "utt2lang": lang, "utt2tgt": target}
    texts = ((utt, " ".join(text.split())) for utt, text in references.items())
    write_table(work_dir / "text", texts)
    for name, value in values.items():
        write_table(work_dir / name, ((utterance, value) for utterance in references))
    notes = [
        f"The references are those that {source.name} brings along, after its recipe's own text "
        "cleaning; --ref_dir would give them as the corpus has them."
    ]
    for other in outputs:
        if other is not source and other.references:
            common = references.keys() & other.references.keys()
            differing = sum(references[utt] != other.references[utt] for utt in common)
            if differing:
                notes.append(
                    f"{differing} of {len(common)} references differ between {source.name} and "
                    f"{other.name}; the former's are used for both."
                )
    groups = {(task, lang, target): list(references)}
    return ReferenceSet(work_dir, f"`{source.path}`", groups, notes=tuple(notes))


def recorded_ref_dir(outputs: Sequence[SystemOutput]) -> Path | None:
    """The references by which `part_score` has scored one of the directories, if they are there."""
    for output in outputs:
        path = output.path / "score.json"
        if path.is_file():
            try:
                recorded = Path(read_json(path)["ref_dir"])
            except (ConfigError, KeyError, TypeError):
                continue
            ref_dir = locate(recorded, path)
            if (ref_dir / "text").is_file():
                return ref_dir
    return None


def _copy_chosen(ref_dir: Path, directory: Path, kept: Collection[str]) -> None:
    for name in _TABLES:
        if (ref_dir / name).is_file():
            table = read_table(ref_dir / name)
            write_table(directory / name, (row for row in table.items() if row[0] in kept))
    corpus = ref_dir / "corpus.json"
    if corpus.is_file():
        with atomic_write(directory / "corpus.json") as file:
            file.write(read_text(corpus))
