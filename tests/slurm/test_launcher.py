"""slurm.pl on a real cluster of two nodes: what a job gets, what becomes of it, and what is said."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.conftest import Shell, start_now, until

SLURM = Path(__file__).parents[2] / "egs2/TEMPLATE/part/utils/slurm.pl"
Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def launch(cluster: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """slurm.pl, called in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    conf = cluster("bash", "-c", "echo $SLURM_CONF").stdout.strip()
    monkeypatch.setenv("SLURM_CONF", conf)  # for `start`, too
    return lambda *words: cluster(SLURM, *words)


def local(text: str) -> None:
    Path("conf").mkdir(exist_ok=True)
    Path("conf/slurm.local.yaml").write_text(text)


def job_of(log: str) -> str:
    found = re.search(r'"job": "(\d+)"', Path(f"{log}.slurm").read_text())
    assert found
    return found[1]


def started(log: str) -> bool:
    return Path(log).is_file() and "# Started" in Path(log).read_text()


def test_a_job_runs_as_run_pl_would_run_it(launch: Launch) -> None:
    done = launch("--mem", "4G", "deep er/a%b.log", "bash", "-c", "echo out; echo err >&2")
    assert done.returncode == 0, done.stderr
    lines = Path("deep er/a%b.log").read_text().splitlines()
    assert re.fullmatch(r"# Running on n[12], job \d+", lines[0])
    assert lines[2] == "# bash -c 'echo out; echo err >&2'"
    assert lines[3:5] == ["out", "err"]
    assert re.fullmatch(r"# Ended \(code 0\) at .*, elapsed time \d+ seconds", lines[-1])
    assert (
        "default partition, for conf/slurm.local.yaml says nothing of jobs of the kind cpu"
        in done.stderr
    )
    assert "queued" in done.stderr


def test_words_reach_the_program_as_they_are(launch: Launch) -> None:
    words = ["a  b", "$HOME", "*", "", "it's", '"', "<pad>", "a;b", "ü", "betas=(0.9,0.95)", "\\"]
    words += ["JOB", "xJOBy'JOB", "-"]
    show = "import sys; print(ascii(sys.argv[1:]))"
    done = launch("JOB=3:3", "o.JOB.log", sys.executable, "-c", show, *words)
    assert done.returncode == 0, done.stderr
    wanted = [word.replace("JOB", "3") for word in words]
    assert f"\n{wanted!a}\n" in Path("o.3.log").read_text()
    assert launch("p.log", "echo", "x", "|", "tr", "x", "y", "&&", "false").returncode == 1
    assert "\ny\n" in Path("p.log").read_text()


def test_an_array_counts_and_names_its_failures(launch: Launch) -> None:
    text = 'echo "shard $1"; test "$1" != 2 && test "$1" != 4'
    done = launch("--max-jobs-run", "2", "JOB=1:5", "x.JOB.log", "bash", "-c", text, "-", "JOB")
    assert done.returncode == 2
    assert "2 / 5 failed, log is in x.*.log (failed: 2, 4; first x.2.log)" in done.stderr
    assert re.search(r"job \d+_2 failed with status 1", done.stderr)
    for job in range(1, 6):
        log = Path(f"x.{job}.log").read_text()
        assert f"\nshard {job}\n" in log and f"# Ended (code {int(job in (2, 4))})" in log
        assert re.search(rf"job \d+_{job}\n", log)


def test_a_job_has_its_variables_and_no_others(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    local("all: {forward: [MINE_*], setup: ['export FROM_SETUP=yes']}")
    for name in ("HF_HOME", "https_proxy", "NCCL_DEBUG", "MINE_1", "OTHERS", "SSH_CONNECTION"):
        monkeypatch.setenv(name, f"value of, {name}")
    done = launch("v.log", "env")
    assert done.returncode == 0 and "default partition" not in done.stderr
    log = Path("v.log").read_text()
    for name in ("HF_HOME", "https_proxy", "NCCL_DEBUG", "MINE_1"):
        assert f"\n{name}=value of, {name}\n" in log
    assert "\nFROM_SETUP=yes\n" in log and "OTHERS" not in log and "SSH_CONNECTION" not in log
    assert "value of" not in Path("v.log.slurm").read_text()


def test_several_nodes(launch: Launch) -> None:
    text = "echo $SLURMD_NODENAME $SLURM_PROCID $SRUN_CPUS_PER_TASK $HF_X"
    os.environ["HF_X"] = "seen"
    try:
        words = ("--num_threads", "2", "--num_nodes", "2", "n.log", "srun", "--export=ALL")
        done = launch(*words, "bash", "-c", text)
    finally:
        del os.environ["HF_X"]
    assert done.returncode == 0, done.stderr
    lines = Path("n.log").read_text().splitlines()
    assert sorted(line for line in lines if line.endswith(" seen")) == [
        "n1 0 2 seen",
        "n2 1 2 seen",
    ]


@pytest.mark.parametrize(
    ("given", "words", "said"),
    [
        ("all: {partition: nowhere}", [], "invalid partition specified: nowhere"),
        ("all: {partitoin: main}", [], "did you mean `partition`?"),
        ("trian: {}", [], "did you mean `train`?"),
        ("all: {time: 4:00:00}", [], 'put it in quotes, "4:00:00"'),
        ("all: {cpus_per_gpu: 0}", [], "cpus_per_gpu"),
        ("", ["--kind", "traim"], "did you mean `train`?"),
        ("", ["--config", "conf/slurm.conf"], "--config is of Kaldi's slurm.pl"),
        ("", ["--gpu", "many"], "--gpu must be a number: many"),
        ("", ["JOB=1:3"], "the log file must hold JOB"),
    ],
)
def test_what_is_wrong_is_a_line(launch: Launch, given: str, words: list[str], said: str) -> None:
    if given:
        local(given)
    done = launch(*words, "a.log", "true")
    assert done.returncode == 255 and said in done.stderr
    assert len([line for line in done.stderr.splitlines() if ": error: " in line]) == 1


def test_the_time_limit_is_named(launch: Launch, cluster: Shell) -> None:
    local('cpu: {time: "1"}')  # minutes; Slurm looks every half
    running = start("t.log", "sleep", "300")
    until(lambda: started("t.log"))
    changed = cluster("scontrol", "update", f"JobId={job_of('t.log')}", "TimeLimit=0:01")
    assert changed.returncode == 0, changed.stderr
    _, said = running.communicate(timeout=150)
    assert running.returncode == 1
    assert "TIMEOUT" in said and "ask for more by `time` in conf/slurm.local.yaml" in said
    assert "DUE TO TIME LIMIT" in Path("t.log").read_text()


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(SLURM), *words], stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )


def test_a_cancelled_job_says_so(launch: Launch, cluster: Shell) -> None:
    running = start("c.log", "sleep", "300")
    until(lambda: started("c.log"))
    cluster("scancel", job_of("c.log"))
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1 and "CANCELLED: somebody, or the cluster, ended it" in said


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL, 0])
def test_a_lost_launcher_is_followed_by_the_next(
    launch: Launch, cluster: Shell, number: int
) -> None:
    """0: killed before it has noted what it has submitted."""
    words = ("f.log", "bash", "-c", "for i in $(seq 8); do echo $i; sleep 1; done; exit 3")
    first = start(*words)
    until(lambda: started("f.log"))
    job = job_of("f.log")
    first.send_signal(number or signal.SIGKILL)
    _, said = first.communicate(timeout=60)
    if number == signal.SIGHUP:
        assert f"job {job} goes on" in said and first.returncode == 128 + number
    if not number:
        Path("f.log.slurm").unlink()
    other = launch("f.log", "true")
    assert other.returncode == 255
    assert f"job {job} of another command writes f.log" in other.stderr
    again = launch(*words)
    assert job_of("f.log") == job
    assert f"job {job} is on its way already: following it" in again.stderr
    assert again.returncode == 1 and f"job {job} failed with status 3" in again.stderr
    assert Path("f.log").read_text().splitlines().count("8") == 1  # it ran once
    assert launch("f.log", "true").returncode == 0


def test_before_its_time_limit_a_job_is_told_and_goes_back_into_the_queue(
    launch: Launch, cluster: Shell
) -> None:
    """Slurm looks every half a minute."""
    local('train: {time: "10", warning: 170}')
    text = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))\n"
        "time.sleep(0 if 'SLURM_RESTART_COUNT' in os.environ else 300)\n"
    )
    running = start("--kind", "train", "w.log", sys.executable, "-c", text)
    until(lambda: started("w.log"))
    job = job_of("w.log")
    time.sleep(2)
    assert cluster("scontrol", "update", f"JobId={job}", "TimeLimit=2:50").returncode == 0
    start_now(cluster, job)
    _, said = running.communicate(timeout=200)
    assert running.returncode == 0, said
    log = Path("w.log").read_text()
    assert log.count("# Stopped at ") == 1 and log.count("# Ended (code 0)") == 1
    assert "TIME LIMIT" not in log


TOLD = (
    "import os, signal, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'told\\n'), os._exit(75)))\n"
    "print('begun', flush=True)\n"
    "time.sleep(0 if 'SLURM_RESTART_COUNT' in os.environ else 300)\n"
)
"""A program that goes on later; told once more while Python ends, it must not die of that."""


def has_begun(log: str) -> bool:
    return Path(log).is_file() and "\nbegun\n" in Path(log).read_text()


@pytest.mark.parametrize("by", ["scancel --batch --signal=TERM", "preemption", "grace"])
def test_a_job_whose_place_is_taken_is_told_and_goes_back_into_the_queue(
    launch: Launch, cluster: Shell, by: str
) -> None:
    """With a GraceTime the steps are told at once, and the job is still Slurm's to run."""
    step = ("srun", "--export=ALL") if by == "grace" else ()
    running = start("--kind", "train", "p.log", *step, sys.executable, "-c", TOLD)
    until(lambda: has_begun("p.log"))
    job = job_of("p.log")
    if by.startswith("scancel"):
        assert cluster(*by.split(), job).returncode == 0
    else:
        seconds = "60" if by == "grace" else "0"
        cluster("scontrol", "update", "PartitionName=main", f"GraceTime={seconds}")
        urgent = ("--partition=urgent", "--exclusive", "--nodes=2", "--output=/dev/null")
        assert cluster("sbatch", *urgent, "--wrap", "sleep 1").returncode == 0
    try:
        start_now(cluster, job)
        _, said = running.communicate(timeout=200)
    finally:
        cluster("scontrol", "update", "PartitionName=main", "GraceTime=0")
    assert running.returncode == 0, said
    log = Path("p.log").read_text()
    assert "\ntold\n" in log and log.count("# Stopped at ") == log.count("# Ended (code") == 1
    assert log.count("# Running on") == 2 and "# Ended (code 0)" in log


def test_a_cancelled_job_does_not_come_back_though_it_could_go_on(
    launch: Launch, cluster: Shell
) -> None:
    running = start("--kind", "train", "x.log", sys.executable, "-c", TOLD)
    until(lambda: has_begun("x.log"))
    cluster("scancel", job_of("x.log"))
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1 and "CANCELLED: somebody, or the cluster, ended it" in said
    log = Path("x.log").read_text()
    assert "\ntold\n" in log and "# Stopped at " not in log and "# Ended (code 75)" in log
    state = cluster("squeue", "-h", "--states=all", "-j", job_of("x.log"), "-o", "%T").stdout
    assert state.strip() == "CANCELLED"


def test_a_requeued_job_is_followed_to_its_end(launch: Launch, cluster: Shell) -> None:
    running = start("r.log", "bash", "-c", 'test "$SLURM_RESTART_COUNT" || sleep 300')
    until(lambda: started("r.log"))
    job = job_of("r.log")
    assert cluster("scontrol", "requeue", job).returncode == 0
    start_now(cluster, job)
    _, said = running.communicate(timeout=200)
    assert running.returncode == 0, said
    log = Path("r.log").read_text()
    assert log.count("# Running on") == 2 and log.count("# Ended (code 0)") == 1


def test_a_job_whose_node_is_gone_goes_on(launch: Launch, cluster: Shell) -> None:
    words = ("bash", "-c", 'test "$SLURM_RESTART_COUNT" || sleep 300')
    running = start("--kind", "train", "d.log", *words)
    until(lambda: started("d.log"))
    job = job_of("d.log")
    node = cluster("squeue", "-h", "-j", job, "-o", "%N").stdout.strip()
    assert (
        cluster("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=t").returncode == 0
    )
    try:
        start_now(cluster, job)
        _, said = running.communicate(timeout=200)
    finally:
        cluster("scontrol", "update", f"NodeName={node}", "State=RESUME")
    assert running.returncode == 0, said
    ran = re.findall(r"# Running on (n\d)", Path("d.log").read_text())
    assert ran[0] == node and len(ran) == 2  # Slurm may have taken the node back by then
