"""Jobs: started through a launcher (run.pl, slurm.pl …), with log files, ended with the recipe."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from espnet_part.data import tables
from espnet_part.data.splits import useful_jobs
from espnet_part.launch.command_line import exit_code
from espnet_part.launch.submission import Submission
from espnet_part.recipe import leash
from espnet_part.recipe.options import RecipeOptions, is_cluster
from espnet_part.recipe.progress import Progress

Words = Sequence[str | Path]


class JobFailed(Exception):
    """A job ended with an error.

    Attributes:
        logs: the files that say why, the likeliest first; empty where the job spoke on the terminal.
        what: the job, where it has no log.
    """

    def __init__(self, logs: Sequence[Path] = (), what: str = "") -> None:
        super().__init__(what)
        self.logs, self.what = list(logs), what


class Jobs:
    """Starts what a recipe runs.

    Attributes:
        held: descriptors of locks that a job holds, too.
        makes: what the jobs are to make.
    """

    def __init__(self, options: RecipeOptions) -> None:
        self._options = options
        self.held: list[int] = []
        self.makes: Sequence[Path] = ()
        self._log: Path | None = None

    def on_slurm(self) -> str | None:
        """The number of Slurm's job that is at work for this recipe, or was when it was stopped."""
        submission = None if self._log is None else Submission.read(self._log)
        return None if submission is None else submission.job

    def run(
        self, words: Words, output: Path | None = None, both: bool = False, what: str = ""
    ) -> None:
        """Run a command on this machine, its output on the terminal or in a file.

        Args:
            both: stderr goes into the file as well.
            what: its name when it fails; by default the stage's.

        Raises:
            JobFailed: it ended with an error.
        """
        if output is None:
            if self._start(words, None, None):
                raise JobFailed(what=what)
            return
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("wb") as file:
            if self._start(words, file, file if both else None):
                raise JobFailed([output] if both else [], what)

    def run_python(self, module: str, *words: str | Path, output: Path | None = None) -> None:
        """Run a module on this machine."""
        self.run([self._options.python, "-m", module, *words], output)

    def run_or_launch(self, log: Path, words: Words, launcher: str, what: str) -> None:
        """Run a command: here, its output on the terminal, or on a cluster, its log shown as it grows.

        Args:
            launcher: the name of what starts it where there is a cluster.

        Raises:
            JobFailed: it ended with an error.
        """
        start = self._options.launchers[launcher]
        if not is_cluster(start):
            self.run(words, what=what)
            return
        log.parent.mkdir(parents=True, exist_ok=True)
        with Progress([log], echo=True):
            status = self._start(
                [*start, "--num_threads", str(self._options.nj), log, *words], None, None, log
            )
        if status:
            raise JobFailed([log], what)

    def launch(self, log: Path, module: str, *words: str | Path, gpus: int | None = None) -> None:
        """Run one module through the launcher: of data preparation, or with ``gpus`` of training."""
        options = self._options
        if gpus is None:
            launcher = [*options.launchers["train_cmd"], "--num_threads", str(options.nj)]
        else:
            launcher = [*options.launchers["cuda_cmd"], "--gpu", str(gpus)]
        log.parent.mkdir(parents=True, exist_ok=True)
        with Progress([log]):
            job = [*launcher, log, options.python, "-m", module, *words]
            status = self._start(job, None, None, log)
        if status:
            raise JobFailed([log])

    def launch_split(
        self, log: Path, module: str, data_dir: Path, *words: str | Path, least: int | None = None
    ) -> None:
        """Run a module whose work on a directory can be split (see `data.splits`).

        On a cluster each split is a job of an array, and one more job joins them; here, processes of
        one job do them.

        Args:
            least: fewer utterances are not worth a job; None: those that are read at a time.
        """
        launcher = self._options.launchers["train_cmd"]
        jobs = useful_jobs(data_dir, self._options.nj, least or tables.RANGE)
        words = (*words, "--nj", str(jobs))
        if jobs > 1 and is_cluster(launcher):
            logs = log.with_name(f"{log.stem}.JOB{log.suffix}")
            command = [self._options.python, "-m", module, *words, "--job", "JOB"]
            self.launch_array([*launcher, "--num_threads", "1"], logs, jobs, command)
        self.launch(log, module, *words)

    def launch_on_gpus(self, log: Path, module: str, *words: str | Path) -> None:
        """Run a module whose work jobs can share, a GPU each, on as many as a training has.

        One more job joins them; without GPUs it does it all.
        """
        gpus = self._options.ngpu * self._options.num_nodes
        words = (*words, "--ngpu", str(min(gpus, 1)))
        if gpus > 1:
            logs = log.with_name(f"{log.stem}.JOB{log.suffix}")
            command = [
                self._options.python,
                "-m",
                module,
                *words,
                "--nj",
                str(gpus),
                "--job",
                "JOB",
            ]
            self.launch_array(
                [*self._options.launchers["cuda_cmd"], "--gpu", "1"], logs, gpus, command
            )
        self.launch(log, module, *words, gpus=min(gpus, 1))

    def launch_array(
        self, launcher: Words, logs: Path, count: int, words: Words, at_once: int | None = None
    ) -> None:
        """Run ``count`` jobs; JOB in the name of the log and in the words is a job's number."""
        files = [Path(str(logs).replace("JOB", str(job))) for job in range(1, count + 1)]
        limit = [] if at_once is None else ["--max-jobs-run", str(at_once)]
        logs.parent.mkdir(parents=True, exist_ok=True)
        with Progress(files):
            words = [*launcher, *limit, f"JOB=1:{count}", logs, *words]
            status = self._start(words, None, None, Path(str(logs).replace("JOB", "all")))
        if status:
            raise JobFailed(files)

    def decoder(self) -> tuple[list[str], list[str]]:
        """The launcher of decoding, and how the program is told what it has."""
        if self._options.gpu_inference:
            return [*self._options.launchers["cuda_cmd"], "--gpu", "1"], ["--ngpu", "1"]
        return [*self._options.launchers["decode_cmd"], "--gpu", "0"], ["--ngpu", "0"]

    def train(self, directory: Path, title: str, module: str, words: Words) -> None:
        """Run a training on all GPUs and nodes."""
        options = self._options
        launcher = list(options.launchers["cuda_cmd"])
        log, launch_log = directory / "train.log", directory / "launch.log"
        job: list[str | Path] = ["env", f"OMP_NUM_THREADS={options.num_threads}"]
        job += [options.python, "-m", module, *words]
        if Path(launcher[0]).name != "run.pl":  # which has no job names
            launcher += ["--name", title]
        if Path(launcher[0]).name == "slurm.pl":
            command = self._on_slurm(launcher, log, job)
        else:
            command = self._by_espnet(launcher, log, job)
        with launch_log.open("wb") as file, Progress([log], notes=launch_log):
            status = self._start(command, file, file, log)
        if status:
            raise JobFailed([log, launch_log])

    def _on_slurm(self, launcher: Words, log: Path, job: Words) -> Words:
        """A process a node, which starts one a GPU. The script of slurm.pl says where they meet.

        Not by ``espnet2.bin.launch``: that moves a log away which the job of a lost terminal still
        writes, and settles a meeting place that a requeued job cannot use again.
        """
        options = self._options
        job = [*job, "--ngpu", str(options.ngpu), "--multiprocessing_distributed", "true"]
        if options.num_nodes > 1:
            for name, value in (("port", options.master_port), ("addr", options.master_addr)):
                job += [f"--dist_master_{name}", value] if value else []
            job += [] if options.ngpu else ["--dist_backend", "gloo"]
            as_rank = 'RANK=$SLURM_PROCID exec "$@"'
            job = ["srun", "--export=ALL", "--kill-on-bad-exit=1", "bash", "-c", as_rank, "-", *job]
        asked = ["--gpu", str(options.ngpu), "--num_nodes", str(options.num_nodes)]
        asked += ["--num_threads", str(options.num_threads * max(1, options.ngpu))]
        return [*launcher, *asked, log, *job]

    def _by_espnet(self, launcher: Words, log: Path, job: Words) -> Words:
        """Through ``espnet2.bin.launch``."""
        options = self._options
        more: list[str] = []
        if options.master_port:
            more += ["--master_port", options.master_port]
        if options.master_addr:
            more += ["--master_addr", options.master_addr]
        command: list[str | Path] = [options.python, "-m", "espnet2.bin.launch"]
        command += ["--cmd", shlex.join(map(str, launcher)), "--log", log]
        command += ["--ngpu", str(options.ngpu), "--num_nodes", str(options.num_nodes)]
        command += ["--init_file_prefix", log.parent / ".dist_init_"]
        command += ["--multiprocessing_distributed", "true", *more, "--"]
        return [*command, *job]

    def _start(
        self,
        words: Words,
        stdout: IO[bytes] | None,
        stderr: IO[bytes] | None,
        log: Path | None = None,
    ) -> int:
        """Args: log: that a launcher is given, of an array as `Submission` has it."""
        sys.stdout.flush()
        self._log = log if Path(words[0]).name == "slurm.pl" else None
        status = run_on_leash(words, stdout, stderr, self.held)
        self._log = None
        for path in self.makes:
            look_anew(path)
        return status


def run_on_leash(
    words: Words,
    stdout: IO[bytes] | None,
    stderr: IO[bytes] | None,
    held: Sequence[int] = (),
    directory: Path | None = None,
) -> int:
    """Run a command that ends when this program does, however that ends; return its exit status.

    Args:
        held: descriptors of locks that it holds, too.
        directory: where it runs.
    """
    with _pipe() as (end, kept):
        command = [sys.executable, "-I", "-S", leash.__file__, str(end), *map(str, words)]
        job = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            pass_fds=[end, *held],
            cwd=directory,
        )
        try:
            return job.wait()
        except BaseException:
            os.close(kept.pop())
            job.wait()
            raise


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, list[int]]]:
    """A pipe's reading end, and its writing end as long as it is in the list."""
    end, writing = os.pipe()
    kept = [writing]
    try:
        yield end, kept
    finally:
        for descriptor in (end, *kept):
            os.close(descriptor)


def look_anew(path: Path) -> None:
    """Forget that a path was not there, as NFS remembers for up to a minute; another machine has made it."""
    for directory in (*reversed(path.parents), path):
        with contextlib.suppress(OSError), os.scandir(directory):
            pass


def show_failure(logs: Sequence[Path]) -> tuple[Path | None, str]:
    """Print the end of the first of the logs whose job did not end well.

    Returns:
        That log, and the signal that ended its job, as the launcher noted it; empty for none.
    """
    for path in logs:
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        code = exit_code(path)
        if code == 0:
            continue
        print(f"---------- the end of {path}:", file=sys.stderr)
        for line in lines[-20:]:
            print("".join(c for c in line[:500] if c.isprintable() or c == "\t"), file=sys.stderr)
        print("----------", file=sys.stderr)
        return path, _signal_name(code)
    return None, ""


def _signal_name(code: int | None) -> str:
    """Of an exit status as shells give it."""
    number = (code or 0) - 128
    return signal.Signals(number).name if number in set(signal.Signals) else ""
