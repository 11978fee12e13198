"""Options of the recipe scripts, as `utils/options.sh` hands them over: `--name value` pairs."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

from espnet_part.errors import ConfigError

T = TypeVar("T", bound="RecipeOptions")
DATA = Path("data")


def is_cluster(launcher: Sequence[str]) -> bool:
    """Whether a launcher's jobs run elsewhere."""
    return Path(launcher[0]).name not in ("run.pl", "ssh.pl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """What both scripts take; part.sh and baseline.sh explain each option in their --help.

    Attributes:
        command: how the script was called, in the words of a shell.
        stage: None where all stages are looked at and those that are done are left alone.
        last_stage: the script's last one.
    """

    last_stage: ClassVar[int]
    command: str
    stage: int | None
    stop_stage: int
    ngpu: int
    num_nodes: int
    num_threads: int
    nj: int
    inference_nj: int
    gpu_inference: bool
    dumpdir: Path
    expdir: Path
    python: str
    train_set: str
    valid_set: str
    test_sets: str
    seed: int
    master_port: str
    master_addr: str
    score_config: str
    prep_cmd: str
    train_cmd: str
    cuda_cmd: str
    decode_cmd: str
    cmd_backend: str

    @property
    def tests(self) -> list[str]:
        return list(dict.fromkeys(self.test_sets.split()))

    @property
    def launchers(self) -> dict[str, list[str]]:
        """The words of each launcher."""
        names = ("train_cmd", "cuda_cmd", "decode_cmd")
        words = {name: getattr(self, name).split() for name in names}
        return {**words, "prep_cmd": self.prep_cmd.split() or words["train_cmd"]}

    def found_score_config(self) -> str:
        """The configuration of scores that was asked for, or the recipe's own where it has one."""
        if self.score_config or not Path("conf/score.yaml").is_file():
            return self.score_config
        return "conf/score.yaml"

    def check(self) -> None:
        """Refuse numbers out of range, quotes without a partner and launchers that are not there.

        Raises:
            ConfigError: names the option and the mend.
        """
        for name in ("num_nodes", "num_threads", "nj", "inference_nj"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} must be at least 1: {getattr(self, name)}")
        if self.stage is not None and self.stage > self.last_stage:
            raise ConfigError(
                f"--stage {self.stage}: there are stages 1 to {self.last_stage}, see --help"
            )
        if self.stop_stage < max(1, self.stage or 0):
            first = "the first stage" if not self.stage else f"--stage {self.stage}"
            raise ConfigError(f"--stop_stage {self.stop_stage} lies before {first}")
        for name, path in (("--dumpdir ", self.dumpdir), ("--expdir ", self.expdir), ("", DATA)):
            _check_directory(f"{name}{path}", path)
        if self.master_port:
            _number("master_port", self.master_port)
        for field in dataclasses.fields(self):
            if field.name.endswith(("_args", "_opts")):
                split_words(getattr(self, field.name), f"--{field.name}")
        for words in self.launchers.values():
            if not words or shutil.which(words[0]) is None:
                raise ConfigError(
                    f"cmd.sh names {words[0] if words else 'no launcher'}, which is not on PATH "
                    f"(cmd_backend={self.cmd_backend}); with MAIN_ROOT naming an ESPnet checkout, "
                    "its launchers are found"
                )
        cuda = self.launchers["cuda_cmd"]
        if self.num_nodes > 1 and not is_cluster(cuda):
            raise ConfigError(
                f"--num_nodes {self.num_nodes}: {Path(cuda[0]).name} starts jobs on one node; choose a "
                "cluster's launcher in cmd.sh, e.g. CMD_BACKEND=slurm"
            )


def read_options(cls: type[T], words: Sequence[str]) -> T:
    """Read `--name value` pairs into the dataclass ``cls``, whose fields all must be given.

    Raises:
        ConfigError: a value of another type than its field's.
    """
    given = {
        name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=False)
    }
    types = get_type_hints(cls)
    fields = [field.name for field in dataclasses.fields(cls)]
    unlike = set(given) ^ set(fields)
    if unlike or len(words) % 2:
        raise ConfigError(f"options that the script and {cls.__name__} do not share: {unlike}")
    return cls(**{name: _convert(name, given[name], types[name]) for name in fields})


def _convert(name: str, value: str, kind: object) -> Any:
    if kind is bool:
        if value not in ("true", "false"):
            raise ConfigError(f"--{name} must be true or false: {value}")
        return value == "true"
    if kind is int:
        return _number(name, value)
    if kind == int | None:
        return _number(name, value) if value else None
    if kind is float:
        try:
            return float(value)
        except ValueError:
            raise ConfigError(f"--{name} must be a number: {value}") from None
    if kind is Path:
        if not value:
            raise ConfigError(f"--{name} is empty: it must name a directory")
        return Path(value)
    return value


def _check_directory(what: str, path: Path) -> None:
    """Refuse a place in which no directory can be made."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            raise ConfigError(
                f"{what}: the link {place} leads to {place.readlink()}, which is missing"
            )
        if place.exists():
            if not place.is_dir():
                raise ConfigError(f"{what}: {place} is not a directory")
            return


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise ConfigError(f"--{name} must be a number: {value}")
    return int(value)


def split_words(text: str, option: str = "") -> list[str]:
    """The words of an option within an option, as in --part_args "--note 'two words'".

    Raises:
        ConfigError: a quote without its partner.
    """
    try:
        return shlex.split(text)
    except ValueError:
        where = f"{option}: " if option else ""
        raise ConfigError(f"{where}a quote without its partner in: {text}") from None


def split_options(words: Sequence[str]) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """(option without its dashes, its values) in their order, and the words before any option."""
    options: list[tuple[str, list[str]]] = []
    before: list[str] = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            options.append((name, [value] if equals else []))
        elif options:
            options[-1][1].append(word)
        else:
            before.append(word)
    return options, before
