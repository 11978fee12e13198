"""The command: what it would do, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_part.bin.part_evidence import main

MINI = Path(__file__).parents[2] / "egs2/mini_multilingual/part"


def test_a_dry_run_says_what_it_costs_and_writes_nothing(tmp_path, capsys) -> None:
    main(["--recipe", str(MINI), "--out", str(tmp_path / "out"), "--only", "systems", "--dry_run"])
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("systems")]
    # 30 runs, of which the grid trains six; 4350 steps a seed, for two stages are shared
    assert line.split()[1:4] == ["30", "0", str(4 * 4350)]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words, said", [
    (["--only", "sistems"], "did you mean `systems`"),
    (["--config", "none.yaml"], "none.yaml"),
    (["--report"], "no two runs"),
])  # fmt: skip
def test_what_cannot_be_done_is_told_in_a_line(tmp_path, capsys, words, said) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--recipe", str(MINI), "--out", str(tmp_path / "out"), *words])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "soon"])
def test_hours_are_a_number_above_0(capsys, hours) -> None:
    with pytest.raises(SystemExit):
        main(["--max_hours", hours])
    assert "must be a number above 0" in capsys.readouterr().err
