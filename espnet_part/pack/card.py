"""The model card: README.md of a packed model, with the head that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_part.config import dump_yaml
from espnet_part.model.packing import PackedBase
from espnet_part.pack.provenance import TrainingData
from espnet_part.tasks import ASR, TASKS

_NOT_STATED = "not stated"


@dataclass(frozen=True)
class Card:
    """What a model card tells.

    Attributes:
        title: the model's name. repo: its name on the hub, if it has one.
        archive: file name of the zip. licence: of these weights, as those who trained them say.
        bases: the base models. data: what it was trained on.
        stages: training keys of each stage (see `provenance.stages_of`).
        results: test set -> Markdown.
        versions: package -> version.
    """

    title: str
    archive: str
    bases: Sequence[PackedBase]
    data: TrainingData
    stages: Sequence[dict[str, Any]]
    repo: str | None = None
    licence: str | None = None
    results: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def render(self) -> str:
        """The card as Markdown."""
        parts = [
            f"---\n{dump_yaml(self._head())}---\n",
            f"# {self.title}\n",
            self._introduction(),
            self._usage(),
            self._base_models(),
            self._training(),
            self._results(),
            self._licences(),
        ]
        return "\n".join(part for part in parts if part)

    def _head(self) -> dict[str, Any]:
        """What the hub reads: https://huggingface.co/docs/hub/model-cards."""
        names = [base.base.name for base in self.bases]
        head: dict[str, Any] = {
            "library_name": "espnet",
            "pipeline_tag": "automatic-speech-recognition",
            "tags": ["espnet", "espnet_part", "audio", "speech-llm"],
            "language": [code for code in self.data.languages if code != "unknown"],
            "base_model": [name for name in names if name and not name.startswith(".")],
            "license": self.licence,
        }
        tags = [TASKS[task].hub_tag for task in self.data.tasks if task in TASKS]
        head["tags"] += [tag for tag in tags if tag and tag != head["pipeline_tag"]]
        return {key: value for key, value in head.items() if value}

    def _introduction(self) -> str:
        tasks = ", ".join(TASKS[task].title if task in TASKS else task for task in self.data.tasks)
        languages = ", ".join(self.data.languages)
        of = f" It was trained for {tasks} in these languages: {languages}." if tasks else ""
        return (
            "A multilingual speech LLM (speech encoder, adapter, language model) trained with "
            f"`espnet_part`, a plugin of [ESPnet](https://github.com/espnet/espnet).{of}\n"
        )

    def _usage(self) -> str:
        model = self.repo or self.archive
        heard = [key for key in self.data.counts if key[0] in TASKS and TASKS[key[0]].speech]
        # what it knows best, transcription first
        task, lang, tgt = max(
            heard,
            key=lambda key: (key[0] == ASR.name, self.data.counts[key]),
            default=(ASR.name, "en", "en"),
        )
        asked = f'task="{task}", lang="{lang}"' + (f', tgt="{tgt}"' if tgt != lang else "")
        return (
            "## Use\n\n"
            "```python\n"
            "import soundfile\n"
            "from espnet_part.decode import Speech2Text\n\n"
            f'speech2text = Speech2Text.from_pretrained("{model}")\n'
            'speech, rate = soundfile.read("speech.wav")  # 16 kHz, one channel\n'
            f"print(speech2text(speech, {asked})[0].text)\n"
            "```\n\n"
            "Through ESPnet's model zoo:\n\n"
            "```python\n"
            "from espnet_model_zoo.downloader import ModelDownloader\n\n"
            f'files = ModelDownloader().download_and_unpack("{model}")\n'
            "speech2text = Speech2Text(**files)\n"
            "```\n"
        )

    def _base_models(self) -> str:
        rows = [
            "## Base models\n",
            "|part|model|revision|inside|licence that it states|",
            "|---|---|---|---|---|",
        ]
        for base in self.bases:
            inside = "yes" if base.files else "no"
            revision = base.base.revision or "-"
            licence = base.licence or _NOT_STATED
            rows.append(f"|{base.base.part}|{base.source}|{revision}|{inside}|{licence}|")
        return "\n".join(rows) + "\n"

    def _training(self) -> str:
        rows = ["## Training\n"]
        phases = [
            f"|{number}|{phase.get('name')}|{_listed(phase.get('train'))}|"
            f"{_listed(phase.get('tasks'))}|{phase.get('steps', '-')}|"
            for number, stage in enumerate(self.stages, 1)
            for phase in stage.get("phases", [])
        ]
        if phases:
            rows += ["|stage|phase|trained|tasks|steps|", "|---|---|---|---|---|", *phases, ""]
            rows += ["The settings of each stage are in `training/`.", ""]
        if self.data.counts:
            rows += ["|task|from|into|examples|hours of speech|", "|---|---|---|---|---|"]
            for (task, lang, tgt), count in sorted(self.data.counts.items()):
                hours = self.data.hours.get((task, lang, tgt))
                shown = "-" if hours is None else f"{hours:.2f}"
                rows.append(f"|{task}|{lang}|{tgt}|{count}|{shown}|")
            rows.append("")
        rows += [_corpus(corpus) for corpus in self.data.corpora]
        if self.data.normalizer:
            rows += ["", f"Text normaliser of the training text: `{self.data.normalizer}`."]
        return "\n".join(rows).rstrip() + "\n" if len(rows) > 1 else ""

    def _results(self) -> str:
        if not self.results:
            return ""
        rows = ["## Results\n"]
        for name, text in self.results.items():
            rows += [f"### {name}\n", _below(text, 3), ""]
        return "\n".join(rows)

    def _licences(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (
            "## Licence\n\n"
            f"Of these weights: {self.licence or _NOT_STATED}. They derive from the base models and "
            "the corpora above, whose licences bind as well.\n\n"
            f"Made with {versions}.\n"
        )


def results_of(directory: Path) -> dict[str, str]:
    """`result.md` of a decoding directory, or of each test set below it, by the set's name."""
    own = directory / "result.md"
    paths = [own] if own.is_file() else sorted(directory.glob("*/result.md"))
    return {path.parent.name: path.read_text(encoding="utf-8") for path in paths}


def _listed(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {number}" for key, number in value.items())
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value or "-")


def _corpus(corpus: dict[str, Any]) -> str:
    languages = corpus.get("languages") or {}
    what = " ".join(str(corpus[key]) for key in ("corpus", "release") if corpus.get(key))
    split = f", {corpus['split']}" if corpus.get("split") else ""
    licence = corpus.get("license") or _NOT_STATED
    return f"- {what}{split} ({', '.join(languages)}); licence: {licence}"


def _below(markdown: str, level: int) -> str:
    """Markdown whose headings begin one below ``level``; its title, the system's, and comments go."""
    lines = [line for line in markdown.splitlines() if not line.startswith("<!--")]
    headings = [(_depth(line), n) for n, line in enumerate(lines) if _depth(line)]
    if len(headings) > 1 and headings[0][0] < min(depth for depth, _ in headings[1:]):
        del lines[headings.pop(0)[1]]
    top = min((depth for depth, _ in headings), default=0)
    shift = level + 1 - top
    shown = ["#" * (_depth(x) + shift) + x.lstrip("#") if _depth(x) else x for x in lines]
    return "\n".join(shown).strip()


def _depth(line: str) -> int:
    """The level of a heading; 0 for another line."""
    return len(line) - len(line.lstrip("#"))
