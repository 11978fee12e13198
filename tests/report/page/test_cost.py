"""Time, throughput and memory of phases."""

import pytest

from espnet_part.report.history import Interval, read_history
from espnet_part.report.page.cost import duration, phase_table


def test_phases(recipe):
    history = read_history([recipe / "exp/part/stage1", recipe / "exp/part/stage2"])
    table = phase_table({"P": history})
    assert table.header == [
        *("system", "training", "phase", "steps", "time", "s/step", "answer tokens/s"),
        *("audio-s/s", "padding", "memory (GB)"),
    ]
    assert [row[1:] for row in table.rows] == [
        ["stage1", "adapter", "20", "20 s", "0.500", "200", "60.0", "4 %", "2.50"],
        ["stage2", "$top$ <script>", "30", "30 s", "0.500", "200", "60.0", "4 %", "2.50"],
        ["stage2", "joint", "40", "40 s", "0.500", "200", "60.0", "4 %", "2.50"],
    ]


def test_means_are_over_steps_and_gpus_are_known_to_espnet_too():
    one = Interval("s", "p", 30, {"train_time": 1.0, "gpu_max_cached_mem_GB": 5.0}, {}, 30.0)
    two = Interval("s", "p", 40, {"train_time": 3.0}, {}, 60.0, {"gpu": 7.0})
    table = phase_table({"P": [one, two]})
    assert dict(zip(table.header, table.rows[0], strict=True)) == {
        "system": "P",
        "training": "s",
        "phase": "p",
        "steps": "40",
        "time": "1 min 0 s",
        "s/step": "1.500",
        "GPU memory (GB)": "7.0",
    }


@pytest.mark.parametrize(
    ("seconds", "text"), [(47.4, "47 s"), (725, "12 min 5 s"), (12000, "3 h 20 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_what_is_unknown_of_one_interval_hides_nothing_of_others():
    without = Interval("s", "p", 10, {"train_time": 0.0, "tokens": 5.0}, {}, 1.0)
    given = Interval("s", "p", 20, {"train_time": 0.0, "tokens": 5.0}, {}, 2.0, {"process": 3.5})
    for first, second in ((without, given), (given, without)):
        table = phase_table({"P": [first, second]})
        found = dict(zip(table.header, table.rows[0], strict=True))
        assert found["memory (GB)"] == "3.50" and "answer tokens/s" not in found
