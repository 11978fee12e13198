"""The script that sbatch gets: the job's words as they are, its log, and how it ended.

A job that ends with the status of what goes on (`espnet_part.errors.AGAIN`) is put in the queue again,
unless Slurm itself has ended it: what has been told by SIGUSR1 or SIGTERM is RUNNING as long as that was a
notice. What the user cancels (SIGTERM to all, this script too) is COMPLETING and must not come back; so is
a job that Slurm has put in the queue itself, for a preemption by PreemptMode=REQUEUE or for somebody, but
its number of restarts has grown.
"""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from espnet_part.errors import AGAIN
from espnet_part.launch.command_line import OPERATORS, Launch
from espnet_part.launch.slurm_settings import FORWARDED, JobSettings

_SCRIPT = """\
#!/usr/bin/env bash
# Written by slurm.pl, for sbatch.
unset SLURM_EXPORT_ENV # else srun passes on no more than sbatch has taken along
cd -- {directory} || exit 255
job=${{SLURM_ARRAY_JOB_ID:-${{SLURM_JOB_ID}}}}${{SLURM_ARRAY_TASK_ID:+_${{SLURM_ARRAY_TASK_ID}}}}
echo "# Running on ${{SLURMD_NODENAME:-$(hostname)}}, job ${{job}}"
echo "# Started at $(date)"
{setup}
{meeting}
echo {title}
started=$(date +%s)
trap 'warned=yes; told=yes; kill -USR1 -- "-${{work}}"' USR1 # the time is nearly up
status=$(mktemp) # wait may miss it: of what ends while a signal is dealt with it says 0, or -1
set -m # a process group, to which that can be said
( trap '' USR1; trap 'exit $?' TERM; trap 'echo $? >"${{status}}"' EXIT; {command} ) & # told by Slurm, too
work=$!
set +m
trap 'warned=yes; told=yes; kill -TERM -- "-${{work}}"' TERM # the place is taken, or the job is cancelled
warned=yes
while [ "${{warned}}" ]; do # once, and again after each signal
    warned=
    wait "${{work}}"
    code=$?
done
[ ! -s "${{status}}" ] || code=$(<"${{status}}")
rm -f -- "${{status}}"
seconds=$(($(date +%s) - started))
echo "# Accounting: time=${{seconds}} threads=${{SLURM_CPUS_PER_TASK:-1}}"
# the first of several processes to end makes srun terminate the others, and their status is told
if [ "${{code}}" = {again} ] || {{ [ "${{told-}}" ] && [ "${{code}}" = 143 ]; }}; then
    trap '' TERM # what puts it in the queue ends this script
    case "$(scontrol show job "${{job}}")" in
        *JobState=RUNNING*) queue="scontrol requeue ${{job}}" ;;
        *" Restarts=$((${{SLURM_RESTART_COUNT:-0}} + 1)) "*) queue=true ;; # Slurm has done that
        *) queue=false ;; # it was cancelled, or its time is over
    esac
    if ${{queue}}; then
        echo "# Stopped at $(date), to go on from the queue"
        exit {again}
    fi
fi
echo "# Ended (code ${{code}}) at $(date), elapsed time ${{seconds}} seconds"
exit "${{code}}"
"""


#: Where the processes of several nodes meet: another port after a requeue, when the old one may be held.
_MEETING = """\
first=$(scontrol show hostnames "${SLURM_JOB_NODELIST}" | head -n 1)
address=$(scontrol show node "${first}" | sed -n 's/.*NodeAddr=\\([^ ]*\\).*/\\1/p')
export MASTER_ADDR="${address:-${first}}" WORLD_SIZE="${SLURM_NNODES}" NCCL_DEBUG="${NCCL_DEBUG:-WARN}"
export MASTER_PORT="$((12000 + (SLURM_JOB_ID * 7 + ${SLURM_RESTART_COUNT:-0}) % 20000))"
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # from 22.05 on srun gives a task one CPU without it"""


def script(launch: Launch, settings: JobSettings, directory: Path) -> str:
    """The text of the script; one of an array stands for all its jobs."""
    words = [_word(word, launch.name) for word in launch.command]
    title = " ".join(shlex.quote(word) for word in launch.command)
    return _SCRIPT.format(
        again=AGAIN,
        directory=shlex.quote(str(directory)),
        setup="\n".join(settings.setup) or ":",
        meeting=_MEETING if launch.number("num_nodes", 1) > 1 else ":",
        title=shlex.quote(f"# {title}"),
        command=" ".join(words),
    )


def _word(word: str, name: str | None) -> str:
    if word in OPERATORS:
        return word
    if name is None or name not in word:
        return shlex.quote(word)
    return '"${SLURM_ARRAY_TASK_ID}"'.join(
        shlex.quote(part) if part else "" for part in word.split(name)
    )


def forwarded(environment: Mapping[str, str], more: Iterable[str]) -> list[str]:
    """The names of the variables that a job gets.

    sbatch takes their values along itself: they stand in no file, since some are secrets.
    """
    patterns = (*FORWARDED, *more)
    return sorted(
        name
        for name in environment
        if name.isidentifier() and any(fnmatch.fnmatchcase(name, p) for p in patterns)
    )


def log_pattern(launch: Launch, directory: Path) -> str:
    """The log's whole name as sbatch takes it."""
    log = launch.log.replace("%", "%%")
    log = log if launch.name is None else log.replace(launch.name, "%a")
    return str(Path(str(directory).replace("%", "%%")) / log)
