"""A corpus of a plan: a directory beside the recipe's own, with its data, base models and experiments.

part.sh works in the directory where it is called. So each corpus has one with links to the recipe's
scripts and its own conf, data, dump and exp, and the recipe itself stays as it is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_part.config import dump_yaml, load_yaml
from espnet_part.errors import ConfigError, DataError
from espnet_part.evidence.plan import Plan, Run, Setting
from espnet_part.evidence.schedules import stage_files
from espnet_part.files import atomic_write
from espnet_part.kaldi import read_table, write_table
from espnet_part.parsing import read_yaml
from espnet_part.recipe.keys import digest
from espnet_part.recipe.markers import Marker
from espnet_part.tasks import TASKS

BEST = "valid.acc.ave.safetensors"
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

    def is_trained(self, run: Run, n: int) -> bool:
        """Whether part.sh has once ended this stage; whether it is up to date, part.sh says."""
        return self.marker(run, n).read() is not None and (self.stage(run, n) / BEST).exists()

    @property
    def test_set(self) -> str:
        return str(self.plan.options.get("test_sets", "test"))

    @property
    def valid_set(self) -> str:
        return str(self.plan.options.get("valid_set", "valid"))

    def train_set(self, setting: Setting) -> str:
        name = str(self.plan.options.get("train_set", "train"))
        return name if setting.s2tt == 1 else f"{name}_s2tt{setting.s2tt:g}"

    @property
    def is_prepared(self) -> bool:
        """Whether there are data and base models; whether they are up to date, part.sh says."""
        name = str(self.plan.options.get("train_set", "train"))
        data = Marker(self.root / f"dump/.done/stage3_{name}").read()
        return data is not None and bool(self._base_models())

    def _base_models(self) -> list[Any]:
        markers = sorted((self.root / "exp/.done").glob("stage4_*"))
        return [done.product for path in markers if (done := Marker(path).read()) is not None]

    def identity(self) -> str:
        """What the data and the base models are, by their content."""
        data = sorted((self.root / "dump/.done").glob("stage[23]_*"))
        made = [(path.name, done.product) for path in data if (done := Marker(path).read())]
        return digest(made, self._base_models())

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
        for path in (self.recipe / "conf").iterdir():
            copy = self.root / "conf" / path.name
            if path.suffix == ".yaml" and "base" in (read_yaml(path) or {}):
                # its base is named from where it lies
                with atomic_write(copy) as file:
                    file.write(dump_yaml(load_yaml(path)))
            else:
                _link(copy, path)

    def write_schedule(self, run: Run) -> str:
        """Write the run's stage files; return their directory, as part.sh is told it.

        Raises:
            ConfigError: see `stage_files`.
        """
        name = f"conf/runs/{run.system}_x{run.rate:g}{run.setting.suffix}"
        for n, content in stage_files(self.plan, run, self.recipe / "conf").items():
            with atomic_write(self.root / name / f"stage{n}.yaml") as file:
                file.write(dump_yaml(content))
        return name

    def thin_out(self, setting: Setting) -> None:
        """Make the training set of a setting with less speech translation, if it is one.

        Raises:
            DataError: the training set of part.sh's stage 3 is missing or faulty.
        """
        if setting.s2tt < 1:
            raw = self.root / "dump/raw"
            whole = str(self.plan.options.get("train_set", "train"))
            thin_out(raw / whole, raw / self.train_set(setting), setting.s2tt)

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
    part.mkdir(parents=True, exist_ok=True)
    for path in sorted(whole.iterdir()):
        if not path.is_file() or path.name.startswith(".") or path.suffix not in ("", ".scp"):
            continue  # notes on the corpus and on what was dropped
        if path.name == "text_normalizer":
            shutil.copyfile(path, part / path.name)
        else:
            table = read_table(path)
            write_table(
                part / path.name,
                ((utt, value) for utt, value in table.items() if utt not in left_out),
            )


def _stays(directory: str, names: list[str]) -> set[str]:
    """What is not taken over: what only a training that goes on needs, and unfinished decodings of dev."""
    here = Path(directory)
    unfinished = {n for n in names if n.startswith("dev_") and not (here / n / "text").is_file()}
    return unfinished | {"checkpoints", "tensorboard", "images", ".lock"}


def _link(link: Path, target: Path) -> None:
    wanted = Path(os.path.relpath(target.absolute(), link.parent.absolute()))
    if link.is_symlink() and link.readlink() == wanted:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    link.symlink_to(wanted)
