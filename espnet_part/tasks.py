"""What a task is: what it reads, what it writes and what it is scored by.

This is the only module that knows tasks by name; all others ask the `Task`. A further one is an entry
here, or an entry point of the group `espnet_part.tasks` of any installed package, and its prompts (a key
of `conf/prompts.yaml`); data directories, training, decoding, scoring and reports then take it as they
take these:

    [project.entry-points."espnet_part.tasks"]
    sqa = "my_package:SPOKEN_QUESTION_ANSWERING"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from espnet_part.errors import ConfigError
from espnet_part.plugins import describe_plugin, load_plugin, plugin_names

GROUP = "espnet_part.tasks"
"""The group of entry points by which other packages add tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task.

    Attributes:
        name: what data directories, schedules and prompts call it.
        title: what tables and model cards call it.
        speech: whether it reads speech.
        text: whether it reads text (``src_text``), in place of speech or beside it.
        writes: the "same" language as it reads, an "other" one, or "any". The language written may be
            left out except where it is another.
        scored_by: "error_rate" of words or characters of normalised text, or "bleu" (with chrF and
            chrF++) of raw text.
        hub_tag: its tag on the Hugging Face hub, where there is one.
    """

    name: str
    title: str
    speech: bool = True
    text: bool = False
    writes: Literal["same", "other", "any"]
    scored_by: Literal["error_rate", "bleu"]
    hub_tag: str = ""

    def __post_init__(self) -> None:
        if not (self.speech or self.text):
            raise ValueError(f"task {self.name}: reads neither speech nor text")

    @property
    def transcribes(self) -> bool:
        """Whether its answers are the words that are heard."""
        return self.speech and self.writes == "same" and self.scored_by == "error_rate"

    def target(self, lang: str, tgt: str | None = None) -> str:
        """The language to be written: ``tgt``, or, where it may be left out, the one read.

        Returns:
            "" where it must be given and is not.
        """
        return tgt or ("" if self.writes == "other" else lang)

    def why_not(self, lang: str, tgt: str) -> str:
        """What is wrong with reading ``lang`` and writing ``tgt``; "" where nothing is."""
        if self.writes == "same" and lang != tgt:
            return f"{self.name} writes the language that it reads: {lang} to {tgt}"
        if self.writes == "other" and lang == tgt:
            return f"{self.name} writes another language than it reads: {lang} to {tgt}"
        return ""


ASR = Task(
    name="asr",
    title="speech recognition",
    writes="same",
    scored_by="error_rate",
    hub_tag="automatic-speech-recognition",
)
S2TT = Task(
    name="s2tt",
    title="speech-to-text translation",
    writes="other",
    scored_by="bleu",
    hub_tag="speech-translation",
)
T2TT = Task(
    name="t2tt",
    title="text translation",
    speech=False,
    text=True,
    writes="other",
    scored_by="bleu",
    hub_tag="translation",
)


class _Tasks(Mapping[str, Task]):
    """The tasks by name; other packages are asked when one of theirs may be meant."""

    def __init__(self, *own: Task) -> None:
        self._own = {task.name: task for task in own}
        self._all: dict[str, Task] | None = None

    def __getitem__(self, name: str) -> Task:
        return self._own[name] if name in self._own else self._with_plugins()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._with_plugins())

    def __len__(self) -> int:
        return len(self._with_plugins())

    def _with_plugins(self) -> dict[str, Task]:
        if self._all is None:
            found = dict(self._own)
            for name in plugin_names(GROUP):
                where = describe_plugin(GROUP, name)
                task = load_plugin(GROUP, name)
                if not isinstance(task, Task) or task.name != name:
                    raise ConfigError(f"{where}: must be a Task of the name {name}")
                if name in self._own:
                    raise ConfigError(f"{where}: there is a task of that name already")
                found[name] = task
            self._all = found
        return self._all


TASKS: Mapping[str, Task] = _Tasks(ASR, S2TT, T2TT)


def find_task(name: str, where: str) -> Task:
    """The task of a name.

    Raises:
        ConfigError: begins with ``where`` and says which tasks there are.
    """
    if name not in TASKS:
        raise ConfigError(f"{where}: {name}: unknown task; known: {', '.join(TASKS)}")
    return TASKS[name]


def main_task(scored_by: str) -> Task:
    """The task that is meant where a figure of this kind does not say its task."""
    return next(task for task in TASKS.values() if task.scored_by == scored_by)


def by_rank(name: str) -> tuple[int, str]:
    """A key that sorts names of tasks as `TASKS` has them, unknown ones last."""
    names = list(TASKS)
    return (names.index(name) if name in TASKS else len(names), name)


def pair_label(lang: str, tgt: str) -> str:
    """The name of what is scored together: "de" where one language is read and written, or "de-en"."""
    return lang if lang == tgt else f"{lang}-{tgt}"
