"""RESULTS.md and report.html of all systems that have been scored in a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from espnet_part.errors import DataError
from espnet_part.recipe import locks
from espnet_part.recipe.jobs import Jobs
from espnet_part.recipe.markers import Marker


def report_options(expdir: Path) -> list[str]:
    """The options of part_report: the systems, their trainings, notes and the heading.

    The main system stands first. Of systems of part.sh the same decoding is shown as of the main one;
    of others (stock ESPnet models, and what was scored by hand) every decoding that has a score.json.
    part.sh leaves in ``.done/report``, one a line: the main system, the name of its decoding, the
    heading, and for each data set what `--data` of part_report says of it.

    Raises:
        DataError: nothing has been scored.
    """
    main_tag, decode_tag, title = "", "", "RESULTS"
    data: list[str] = []
    noted = expdir / ".done/report"
    if noted.is_file():
        lines = noted.read_text(encoding="utf-8").split("\n")
        main_tag, decode_tag, title = lines[:3]
        data = [line for line in lines[3:] if line]
    directories = sorted(path for path in expdir.iterdir() if path.is_dir())
    directories.sort(key=lambda path: path.name != main_tag)
    options: list[str] = []
    for directory in directories:
        if directory.name.startswith("."):
            continue
        trained = [directory / f"stage{n}" for n in (1, 2, 3)]
        if any(path.is_dir() for path in trained):
            decodings = [directory / decode_tag] if decode_tag else []
        else:
            decodings = sorted(directory.glob("decode*"))
        chain = ",".join(str(path) for path in trained if (path / "history.jsonl").is_file())
        for decoding in decodings:
            if not any(decoding.glob("*/score.json")):
                continue
            name = directory.name
            if len(decodings) > 1:
                name += f"/{decoding.name}"
            options += ["--system", f"{name}={decoding}"]
            if chain:
                options += ["--train", f"{name}={chain}"]
        # what a system has seen, where it says so
        note = directory / "note.md"
        if note.is_file():
            options += ["--note", note.read_text(encoding="utf-8").rstrip("\n")]
    if "--system" not in options:
        raise DataError(f"{expdir}: nothing has been scored")
    times = expdir / main_tag / "stage_times.jsonl"
    if main_tag and times.is_file():
        options += ["--stage_times", str(times)]
    for named in data:
        options += ["--data", named]
    return ["--expdir", str(expdir), *options, "--title", title]


def is_report_old(expdir: Path, scored: Iterable[Marker]) -> bool:
    """Whether the report lacks scores of these pieces, also after a kill before it was written."""
    files = [expdir / name for name in ("RESULTS.md", "report.html")]
    written = min(file.stat().st_mtime_ns if file.is_file() else -1 for file in files)
    found = [marker.path for marker in scored if marker.path.is_file()]
    return any(path.stat().st_mtime_ns > written for path in found)


def show_written(log: Path, say: Callable[[str], None]) -> None:
    """Name the files that `update_report` has written, by its log."""
    say("written:")
    for line in log.read_text(encoding="utf-8").splitlines():
        print(f"  {line}", flush=True)


def update_report(
    jobs: Jobs, python: str, expdir: Path, log: Path, say: Callable[[str], None]
) -> None:
    """Write the report; systems that are trained side by side share it, one writes it at a time.

    Raises:
        JobFailed: part_report ended with an error.
    """
    with locks.writing(expdir / ".report.lock", f"{expdir}/RESULTS.md", say):
        command = [python, "-m", "espnet_part.bin.part_report", *report_options(expdir)]
        jobs.run(command, log, what="report")
