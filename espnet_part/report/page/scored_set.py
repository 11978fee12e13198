"""A test set as it was scored: references, what systems wrote, and how the two are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_part.errors import UserError
from espnet_part.kaldi import iter_table
from espnet_part.report.page.differences import mark_differences
from espnet_part.report.page.parts import Output, Utterance
from espnet_part.report.paired_tests import read_hypotheses, rebuild_config
from espnet_part.report.systems import System, locate
from espnet_part.score.bleu import figures_of, tokenizer_for, translation_statistics
from espnet_part.score.counting import units_of
from espnet_part.score.error_rate import count_errors
from espnet_part.score.normalizers import drop_spaces, normalize_pair, normalizer_for
from espnet_part.score.references import GroupKey, References, read_references
from espnet_part.score.score_config import ScoreConfig
from espnet_part.tasks import TASKS, pair_label


@dataclass(frozen=True, eq=False)
class ScoredSet:
    """A test set of the first system, and those of all systems.

    Attributes:
        directory: the data directory of the references.
        beneath: a directory of the recipe, by which relative paths are found.
        hypotheses: by system, in the report's order.
        notes: why a system's are lacking.
    """

    name: str
    directory: Path
    beneath: Path
    references: References
    config: ScoreConfig
    hypotheses: Mapping[str, Mapping[str, str]]
    notes: Sequence[str]

    def compare(self, key: GroupKey, utterance: str, system: str) -> Output:
        """Mark what a system got wrong: as errors are counted, or in the raw text of a translation."""
        task, _, target = key
        hypothesis = self.hypotheses[system].get(utterance)
        if hypothesis is None:
            return Output(system, [], "no output")
        reference = self.references.texts[utterance]
        texts = [self.references.texts[utt] for utt in self.references.groups[key][:1000]]
        unit = units_of(target, self.config, texts)[0]
        if TASKS[task].scored_by == "bleu":
            tokenizer = tokenizer_for(target, texts)
            counted = translation_statistics([reference], [hypothesis], tokenizer)
            figure = f"chrF {figures_of(counted, tokenizer)[0, 1]:.0f}"
        else:
            normalize = normalizer_for(target, self.config.normalizer, self.config.chinese_script)
            reference, hypothesis = normalize_pair(normalize, target, reference, hypothesis)
            if unit == "character":
                reference, hypothesis = drop_spaces(reference), drop_spaces(hypothesis)
            errors = count_errors([reference], [hypothesis], unit).errors
            figure = f"{errors} error{'' if errors == 1 else 's'}" if errors else "right"
        marked = mark_differences(reference, hypothesis, unit)
        return Output(system, marked, figure, " " if unit == "word" else "")

    def utterance(
        self,
        key: GroupKey,
        name: str,
        systems: Sequence[str],
        said: str = "",
        player: str = "",
        silent: str = "",
    ) -> Utterance:
        """An utterance with the outputs of systems."""
        task, source, target = key
        return Utterance(
            name=name,
            kind=f"{task} {pair_label(source, target)}",
            language=target,
            reference=self.references.texts[name],
            outputs=[self.compare(key, name, system) for system in systems],
            said=said,
            player=player,
            silent=silent,
        )

    def source_texts(self, utterances: set[str]) -> dict[str, str]:
        """The transcripts of what is heard or read, of some utterances, where there are any."""
        path = self.directory / "src_text"
        if not path.is_file():
            return {}
        return {name: text for _, name, text in iter_table(path) if name in utterances}


def texts_of(chosen: Iterable[tuple[ScoredSet, str]]) -> dict[tuple[ScoredSet, str], str]:
    """`ScoredSet.source_texts` of utterances of several sets, each set read once."""
    wanted: dict[ScoredSet, set[str]] = {}
    for test_set, name in chosen:
        wanted.setdefault(test_set, set()).add(name)
    return {
        (test_set, name): text
        for test_set, names in wanted.items()
        for name, text in test_set.source_texts(names).items()
    }


def read_scored_set(systems: Sequence[System], name: str) -> ScoredSet:
    """Read a test set of the first of the systems.

    Raises:
        UserError: its references or its own hypotheses cannot be read.
    """
    first, *others = (system for system in systems if name in system.sets)
    score = first.sets[name]
    config = rebuild_config(score)
    directory = locate(Path(score["ref_dir"]), first.paths[name])
    hypotheses = {first.name: read_hypotheses(first, name)}
    notes = []
    for system in others:
        try:
            hypotheses[system.name] = read_hypotheses(system, name)
        except (UserError, OSError) as error:
            notes.append(f"no outputs of {system.name} on {name}: {error}")
    return ScoredSet(
        name=name,
        directory=directory,
        beneath=first.paths[name],
        references=read_references(directory, list(score["tasks"])),
        config=config,
        hypotheses=hypotheses,
        notes=notes,
    )
