"""What is known, or assumed, of the training data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from espnet_part.data import Stratum
from espnet_part.data.shares import by_task
from espnet_part.errors import ConfigError, DataError
from espnet_part.parsing import read_json
from espnet_part.plan.batch import Example
from espnet_part.schedule.schedule import Phase
from espnet_part.tasks import TASKS

#: Tokens of a chat template with its system message and a wording of conf/prompts.yaml.
PROMPT_TOKENS = 40
#: Tokens of a transcript or a translation by second of speech, of Qwen's tokenizer.
ANSWER_TOKENS = 4.0


@dataclass(frozen=True)
class TaskData:
    """The examples of a task: how many there are, and the average of them."""

    examples: float
    mean: Example

    @property
    def hours(self) -> float:
        return self.examples * self.mean.seconds / 3600


@dataclass(frozen=True)
class Data:
    """The training data.

    Attributes:
        tasks: by name.
        strata: by task, language and target language, where they are known.
        hours: of audio, a recording that serves several tasks counted in each.
        assumed: what is not known of it, in words; empty where ``mixture.json`` was read.
    """

    tasks: Mapping[str, TaskData]
    hours: float
    assumed: str = ""
    strata: Mapping[Stratum, TaskData] = field(default_factory=dict)

    def shares(self, phase: Phase) -> dict[str, float]:
        """The share of each task among a phase's examples.

        Raises:
            ConfigError: a task that the data lack.
        """
        for task in phase.tasks:
            if not self.tasks.get(task, TaskData(0, Example(0, 0, 0))).examples:
                raise ConfigError(f"phase {phase.name}: tasks: --data_stats has no `{task}`")
        if isinstance(phase.tasks, dict):
            weights: Mapping[str, float] = phase.tasks
        else:
            weights = {task: self.tasks[task].examples for task in phase.tasks}
        total = sum(weights.values())
        return {task: weight / total for task, weight in weights.items()}

    def means(self, phase: Phase, shares: Mapping[Stratum, float]) -> dict[str, Example]:
        """The average example of each task of a phase that mixes the strata so."""
        return {
            task: _mean({s: share for s, share in shares.items() if s[0] == task}, self.strata)
            if shares
            else self.tasks[task].mean
            for task in phase.tasks
        }

    def examples(self, phase: Phase) -> float:
        """How many examples an epoch of a phase has."""
        return sum(self.tasks[task].examples for task in phase.tasks)


def assume_data(hours: float, seconds: float) -> Data:
    """Data of which only the hours are known: every task has as many examples.

    Args:
        hours: of audio. seconds: of an average utterance.
    """
    answer = ANSWER_TOKENS * seconds
    examples = hours * 3600 / seconds
    tasks = {
        name: TaskData(
            examples,
            Example(
                seconds if task.speech else 0,
                PROMPT_TOKENS + (answer if task.text else 0),
                answer + 1,
            ),
        )
        for name, task in TASKS.items()
    }
    assumed = (
        f"utterances of {seconds:g} s, prompts of {PROMPT_TOKENS} tokens, {ANSWER_TOKENS:g} answer "
        "tokens a second, equally many examples of each task (--data_stats gives the real ones)"
    )
    return Data(tasks, hours, assumed)


def read_data(path: str | Path, hours: float | None = None) -> Data:
    """Data as part_collect_stats counted them.

    Args:
        path: its ``mixture.json``, or the directory that holds it.
        hours: of audio; the counts are scaled to it.

    Raises:
        ConfigError: cannot be read, or no JSON.
        DataError: not such a file.
    """
    file = Path(path)
    file = file / "mixture.json" if file.is_dir() else file
    strata: dict[Stratum, TaskData] = {}
    try:
        for line in read_json(file):
            names = "utterances", "hours", "prompt_tokens", "answer_tokens"
            count, hours_of_all, prompt, answer = (line[name] for name in names)
            if not all(0 <= number < math.inf for number in (count, hours_of_all, prompt, answer)):
                raise ValueError
            if line["task"] and line["lang"] and count:
                mean = Example(hours_of_all * 3600 / count, prompt / count, answer / count)
                strata[line["task"], line["lang"], line["tgt"]] = TaskData(count, mean)
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{file}: is no mixture.json of part_collect_stats") from None
    total = sum(found.hours for found in strata.values())
    scale = 1.0 if hours is None or not total else hours / total
    strata = {s: TaskData(found.examples * scale, found.mean) for s, found in strata.items()}
    sizes = {stratum: found.examples for stratum, found in strata.items()}
    tasks = {
        task: TaskData(sum(sizes[s] for s in those), _mean({s: sizes[s] for s in those}, strata))
        for task, those in by_task(sizes).items()
    }
    return Data(tasks, total * scale, strata=strata)


def _mean(weights: Mapping[Stratum, float], strata: Mapping[Stratum, TaskData]) -> Example:
    """The average example of strata."""
    total = sum(weights.values())

    def mean(value: Callable[[Example], float]) -> float:
        return sum(weight * value(strata[s].mean) for s, weight in weights.items()) / total

    return Example(mean(lambda e: e.seconds), mean(lambda e: e.prompt), mean(lambda e: e.answer))
