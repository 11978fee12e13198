"""A corpus of a plan: a directory beside the recipe's own, with its data, base models and experiments.

part.sh works in the directory where it is called. So each corpus has one with links to the recipe's
scripts and its own conf, data, dump and exp, and the recipe itself stays as it is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_part.config import dump_yaml, load_yaml
from espnet_part.data.datadir import TABLES
from espnet_part.errors import ConfigError, DataError
from espnet_part.evidence.plan import Plan, Run, Setting
from espnet_part.evidence.schedules import stage_files
from espnet_part.files import atomic_write
from espnet_part.kaldi import read_table, write_table
from espnet_part.parsing import read_yaml
from espnet_part.recipe.keys import digest
from espnet_part.recipe.markers import Marker
from espnet_part.recipe.part import BEST
from espnet_part.tasks import TASKS

_NORMALIZER = "text_normalizer"
_OWN = ("conf", "data", "dump", "exp", "logs", "evidence", "figures")


@dataclass(frozen=True)
class Workspace:
    """The directory ``root`` of one corpus of the recipe in ``recipe``."""

    root: Path
    recipe: Path
    plan: Plan
    corpus: str

    # ------------------------------------------------------------------------------------- places

    def exp(self, run: Run) -> Path:
        return self.root / "exp" / run.tag

    def stage(self, run: Run, n: int) -> Path:
        return self.exp(run) / f"stage{n}"

    def marker(self, run: Run, n: int) -> Marker:
        """part.sh's marker of the run's training stage ``n``."""
        return Marker(self.exp(run) / f".done/stage{n + 6}")

    def has_ended(self, run: Run, n: int) -> bool:
        """Whether part.sh has once ended this stage, up to date or not: see `Evidence.is_trained`."""
        return self.marker(run, n).read() is not None and (self.stage(run, n) / BEST).exists()

    def option(self, name: str, default: str = "") -> str:
        """An option of part.sh for the runs on this corpus."""
        return str(self.plan.options_of(self.corpus).get(name, default))

    @property
    def test_set(self) -> str:
        return self.option("test_sets", "test").strip()

    @property
    def valid_set(self) -> str:
        return self.option("valid_set", "valid")

    @property
    def whole_train_set(self) -> str:
        return self.option("train_set", "train")

    def train_set(self, setting: Setting) -> str:
        name = self.whole_train_set
        return name if setting.s2tt == 1 else f"{name}_s2tt{setting.s2tt:g}"

    @property
    def is_prepared(self) -> bool:
        """Whether there are data and base models; whether they are up to date, part.sh says."""
        data = self._filtered.read()
        return data is not None and bool(self._base_models())

    @property
    def _filtered(self) -> Marker:
        """part.sh's marker of the training set."""
        return Marker(self.root / f"dump/.done/stage3_{self.whole_train_set}")

    def _base_models(self) -> list[Any]:
        markers = sorted((self.root / "exp/.done").glob("stage4_*"))
        return [done.product for path in markers if (done := Marker(path).read()) is not None]

    def identity(self) -> str:
        """What the data and the base models are, by their content."""
        data = sorted((self.root / "dump/.done").glob("stage[23]_*"))
        made = [(path.name, done.product) for path in data if (done := Marker(path).read())]
        return digest(made, self._base_models())

    def settings(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options of part.sh with the content of the YAML files that they name, and that these name.

        Raises:
            ConfigError: a file cannot be read.
        """
        return {name: [value, self._named(value, 2)] for name, value in sorted(options.items())}

    def _named(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return {key: self._named(inner, depth) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._named(inner, depth) for inner in value]
        files = [
            self.recipe / word
            for word in (value.split() if depth and isinstance(value, str) else [])
            if word.endswith((".yaml", ".yml")) and (self.recipe / word).is_file()
        ]
        return [self._named(load_yaml(file), depth - 1) for file in files] if files else value

    # -------------------------------------------------------------------------------- preparation

    def link(self) -> None:
        """Make the directory, with links to the recipe's scripts and copies of its model files.

        Raises:
            ConfigError: the recipe has no part.sh.
        """
        if not (self.recipe / "part.sh").exists():
            raise ConfigError(f"{self.recipe}: is no recipe's directory: it has no part.sh")
        for path in self.recipe.iterdir():
            if path.name not in _OWN and not path.name.startswith("."):
                _link(self.root / path.name, path)
        _drop_gone(self.root, self.recipe)
        _drop_gone(self.root / "conf", self.recipe / "conf")
        for path in (self.recipe / "conf").iterdir():
            copy = self.root / "conf" / path.name
            if path.suffix == ".yaml" and "base" in (read_yaml(path) or {}):
                # its base is named from where it lies
                if copy.is_symlink():
                    copy.unlink()
                with atomic_write(copy) as file:
                    file.write(dump_yaml(load_yaml(path)))
            else:
                _link(copy, path)

    def write_schedule(self, run: Run) -> str:
        """Write the run's stage files; return their directory, as part.sh is told it.

        Raises:
            ConfigError: see `stage_files`.
        """
        for n, content in stage_files(self.plan, run, self.recipe / "conf").items():
            with atomic_write(self.root / run.schedule / f"stage{n}.yaml") as file:
                file.write(dump_yaml(content))
        return run.schedule

    def thin_out(self, setting: Setting) -> None:
        """Make the training set of a setting with less speech translation, if it is one.

        Raises:
            DataError: the training set of part.sh's stage 3 is missing or faulty.
        """
        if setting.s2tt == 1:
            return
        raw, done = self.root / "dump/raw", self._filtered.read()
        part = raw / self.train_set(setting)
        made = Marker(part / ".evidence")
        key = digest(setting.s2tt, done.product if done else None)
        known = made.read()
        if known is None or known.key != key:  # else others may be reading it
            thin_out(raw / self.whole_train_set, part, setting.s2tt)
            made.finish(key, None)

    def adopt(self, run: Run, n: int, other: Run) -> None:
        """Take over another run's finished stage ``n``; part.sh trains it all the same if its key differs."""
        here, there = self.stage(run, n), self.stage(other, n)
        aside = here.with_name(f".{here.name}.tmp")
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(there, aside, symlinks=True, ignore=_stays)
        if here.exists():  # of a training that was interrupted
            shutil.rmtree(here)
        aside.rename(here)
        done = self.marker(other, n).read()
        if done is not None:
            self.marker(run, n).finish(done.key, done.product)


def thin_out(whole: Path, part: Path, share: float) -> None:
    """Write a data directory with a share of the speech translations of another, and all the rest.

    Of each direction, those are kept whose ids come first in the order of a hash, so that a smaller
    share lies inside a larger one.

    Raises:
        DataError: a table is missing or faulty.
    """
    tasks = read_table(whole / "utt2task")
    sources, targets = read_table(whole / "utt2lang"), read_table(whole / "utt2tgt")
    directions: dict[tuple[str, str], list[str]] = defaultdict(list)
    for utt, name in tasks.items():
        task = TASKS[name]
        if task.speech and task.scored_by == "bleu":
            directions[sources[utt], targets[utt]].append(utt)
    if not directions:
        raise DataError(f"{whole}: has no speech translations to leave out")
    left_out: set[str] = set()
    for members in directions.values():
        members.sort(key=lambda utt: hashlib.sha256(utt.encode()).digest())
        left_out.update(members[max(1, round(share * len(members))) :])
    aside = part.with_name(f".{part.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name in TABLES:  # by utterance; spk2utt and notes on the corpus are not among them
        if (whole / name).is_file():
            table = read_table(whole / name)
            kept = ((utt, value) for utt, value in table.items() if utt not in left_out)
            write_table(aside / name, kept)
    if (whole / _NORMALIZER).is_file():
        shutil.copyfile(whole / _NORMALIZER, aside / _NORMALIZER)
    if part.exists():
        shutil.rmtree(part)
    aside.rename(part)


def _stays(directory: str, names: list[str]) -> set[str]:
    """What is not taken over: what only a training that goes on needs, and unfinished decodings of dev."""
    here = Path(directory)
    unfinished = {n for n in names if n.startswith("dev_") and not (here / n / "text").is_file()}
    return unfinished | {"checkpoints", "tensorboard", "images", ".lock"}


def _drop_gone(directory: Path, recipe: Path) -> None:
    """Take away links to, and copies of, what the recipe's directory no longer has."""
    for path in directory.iterdir() if directory.is_dir() else ():
        ours = path.is_symlink() or (directory.name == "conf" and path.is_file())
        if ours and not (recipe / path.name).exists():
            path.unlink()


def _link(link: Path, target: Path) -> None:
    wanted = Path(os.path.relpath(target.absolute(), link.parent.absolute()))
    if link.is_symlink() and link.readlink() == wanted:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() or link.is_file():  # a copy of a file that had a base
        link.unlink()
    link.symlink_to(wanted)
