"""What Slurm is asked for: a cluster's own names and limits, from files that git does not see.

Read, each laid over those before it:

    conf/slurm.yaml                         beside the recipe's other files, shared: an example
    ~/.config/espnet_part/slurm.yaml        the user's, for all recipes ($XDG_CONFIG_HOME)
    conf/slurm.local.yaml                   of this recipe's copy; git ignores it

Each holds sections: `all`, and by the kind of job `cpu` (preparation, statistics, scoring), `decode`,
`train` (whatever uses GPUs) and `driver` (run.sh itself, with --detach true); the keys are those of
`JobSettings`.
"""

from __future__ import annotations

import os
from dataclasses import field
from pathlib import Path
from typing import Any

import pydantic
from pydantic.dataclasses import dataclass

from espnet_part.config import build, load_yaml
from espnet_part.errors import ConfigError, did_you_mean

KINDS = ("cpu", "decode", "train", "driver")
GOING_ON = ("decode", "train", "driver")
"""Kinds of jobs that end at a warning, with status 75, and go on where they were."""
SHARED, LOCAL = Path("conf/slurm.yaml"), Path("conf/slurm.local.yaml")
#: Names of variables that a job gets, besides those of `forward`: * stands for anything.
FORWARDED = (
    *("HOME", "USER", "LOGNAME", "PATH", "LANG", "LC_*", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
    *("CONDA_*", "PYTHON*", "OMP_*", "MKL_*", "KMP_*", "TOKENIZERS_*"),
    *("MODULE*", "LMOD_*", "BASH_ENV"),  # BASH_ENV defines `module` for scripts
    *("HF_*", "TRANSFORMERS_*", "WANDB_*", "*_proxy", "*_PROXY", "NCCL_*", "GLOO_*", "TORCH_*"),
    *("ESPNET_*", "XDG_CACHE_HOME", "CUDA_HOME"),
)


@dataclass(frozen=True, kw_only=True, config=pydantic.ConfigDict(extra="forbid"))
class JobSettings:
    """What a kind of job is asked for with; null leaves it to the cluster.

    Attributes:
        partition, account, qos, reservation, constraint, nodelist, exclude, time: options of sbatch.
        mem: of a node, such as 64G. mem_per_cpu: instead of it. mem_per_gpu: instead of both where a job
            has GPUs; of those that train with several, decoding gets one a job.
        gres: the name of a GPU in --gres, such as gpu or gpu:a100.
        cpus_per_gpu: CPUs with each GPU: a process of training and its loading workers.
        warning: seconds before its end, by the time limit or for another job, at which a job that goes on
            (a training writes a checkpoint, a decoding keeps what it has) is put in the queue again; 0 for
            never. Not less than a step and a checkpoint need.
        setup: lines of shell that run first in each job, such as module load cuda.
        forward: names of more environment variables that jobs get; * stands for anything.
        sbatch: more words for sbatch.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    time: str | None = None
    mem: str | None = None
    mem_per_cpu: str | None = None
    mem_per_gpu: str | None = pydantic.Field(default=None, pattern=r"^[1-9]\d*[KMGT]?$")
    gres: str = "gpu"
    cpus_per_gpu: int = pydantic.Field(default=4, ge=1)
    warning: int = pydantic.Field(default=120, ge=0, le=65535)
    setup: list[str] = field(default_factory=list)
    forward: list[str] = field(default_factory=list)
    sbatch: list[str] = field(default_factory=list)

    def options(self, gpus: int = 0) -> list[str]:
        """The words for sbatch that are alike for all jobs with so many GPUs a node."""
        names = ("partition", "account", "qos", "reservation", "constraint", "nodelist", "exclude")
        values = {name: getattr(self, name) for name in (*names, "time", "mem")}
        values["mem-per-cpu"] = self.mem_per_cpu
        if gpus and self.mem_per_gpu:
            number = self.mem_per_gpu.rstrip("KMGT")
            values["mem"] = f"{int(number) * gpus}{self.mem_per_gpu.removeprefix(number)}"
            values["mem-per-cpu"] = None
        return [f"--{name}={value}" for name, value in values.items() if value] + self.sbatch


def settings_files() -> list[Path]:
    """Where settings may be, the strongest last."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [SHARED, config / "espnet_part/slurm.yaml", LOCAL]


def load_settings(kind: str) -> JobSettings:
    """The settings of a kind of job.

    Raises:
        ConfigError: no such kind, or a file is wrong; names the file, the key and the mend.
    """
    if kind not in KINDS:
        raise ConfigError(f"--kind: {did_you_mean(kind, KINDS)}")
    values: dict[str, Any] = {}
    where = "slurm"
    for path in settings_files():
        if not path.is_file():
            continue
        content = load_yaml(path)
        where = str(path)
        for section, given in content.items():
            if section not in ("all", *KINDS):
                raise ConfigError(f"{path}: {did_you_mean(str(section), ('all', *KINDS))}")
            if given is not None and not isinstance(given, dict):
                raise ConfigError(f"{path}: {section}: must be a mapping of keys")
            _check(given or {}, f"{path}: {section}")
        for section in ("all", kind):
            values |= content.get(section) or {}
    return build(JobSettings, values, where)


def _check(values: dict[str, Any], where: str) -> None:
    if isinstance(values.get("time"), int) and values["time"] is not None:
        raise ConfigError(
            f'{where}: time: YAML reads this as the number {values["time"]}: put it in quotes, "4:00:00"'
        )
    build(JobSettings, values, where)
