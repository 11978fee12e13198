"""Progress of running jobs: the newest bar of their logs."""

from __future__ import annotations

import io
from pathlib import Path

from espnet_part.recipe.progress import Progress, shortened


def test_the_newest_bar_of_a_new_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("old 10%| of an earlier run\n")
    shown = io.StringIO()
    with Progress([log], shown):
        log.rename(tmp_path / "train.1.log")
        log.write_text("2026 (trainer:1) INFO: phase a, step 5, ETA 0:01\nnothing\rx:  50%|##")
    assert shown.getvalue() == "  phase a, step 5, ETA 0:01\n"


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    shown = io.StringIO()
    with Progress([tmp_path / "a.log"], shown):
        (tmp_path / "a.log").write_text("\x1b[2Jx 50%|#\x07|\n")
    assert shown.getvalue() == "  [2Jx 50%|#|\n"


def test_a_line_of_an_array_says_whose_it_is(tmp_path: Path) -> None:
    logs = [tmp_path / f"decode.{job}.log" for job in (1, 2)]
    shown = io.StringIO()
    with Progress(logs, shown):
        logs[1].write_text("decoding: 3/4 utterances, 70 % of the work, 0:03 so far, ETA 0:01\n")
    assert shown.getvalue().startswith("  job 2 of 2: decoding: 3/4 utterances, 70 % of the work")


def test_what_a_launcher_says_is_shown_once(tmp_path: Path) -> None:
    notes, shown = tmp_path / "launch.log", io.StringIO()
    notes.write_text("slurm.pl: job 1: of an earlier run\n")
    with Progress([tmp_path / "a.log"], shown, notes=notes):
        with notes.open("a") as file:
            file.write(
                "2026 (launch:1) INFO: slurm.pl is called\nslurm.pl: job 7: queued (Resources)\n"
            )
        (tmp_path / "a.log").write_text("x 50%|#|\n")
    assert shown.getvalue() == "  slurm.pl: job 7: queued (Resources)\n  x 50%|#|\n"


def test_the_estimate_is_seen_on_a_narrow_terminal() -> None:
    line = "adapter: step 2/4 (50%) | loss 5.793 (asr 5.794) | 557 tokens/s | padding 8% | ETA 1 second"
    short = "adapter: step 2/4 (50%) | loss 5.793 (asr 5.794) | ETA 1 second"
    assert [shortened(line, width) for width in (len(line), 80, 60)] == [
        line,
        short,
        "adapter: step 2/4 (50%) | ETA 1 second",
    ]
    assert shortened(line) == short
    assert shortened("x:  50%|##   | 5/10", 9) == "x:  50%|##   | 5/10"
