"""The schedule of a chain of trainings, in words and as a picture."""

import pytest

from espnet_part.errors import ConfigError
from espnet_part.report.figure import as_svg
from espnet_part.report.history import read_history
from espnet_part.report.page.schedule import alike, draw_schedule, read_spans, schedule_rows
from tests.report.page.make import STAGE2, make_training


def _spans(recipe):
    paths = [recipe / "exp/part/stage1", recipe / "exp/part/stage2"]
    return read_spans(paths, read_history(paths))


def test_phases_in_epochs_are_as_long_as_they_were(recipe):
    assert [(s.phase.name, s.start, s.end) for s in _spans(recipe)] == [
        ("adapter", 0, 20),
        ("$top$ <script>", 20, 50),
        ("joint", 50, 90),
    ]


def test_what_is_told_of_a_phase(recipe):
    _, top, joint = _spans(recipe)
    assert (top.selectors("encoder"), top.selectors("adapter"), top.selectors("llm")) == (
        "layers[-2:]",
        "all",
        "",
    )
    assert joint.selectors("llm") == "lora" and joint.by_size and not top.by_size
    assert top.shares == {"asr": 0.75, "s2tt": 0.25}
    rows = schedule_rows([top, joint]).rows
    assert rows[0][4:] == ["asr 75 %, s2tt 25 %", "adapter 1.0e-03, encoder 1.0e-04"]
    assert rows[1][4] == "asr, s2tt by size"


def test_names_in_a_picture_are_no_formulas_and_no_markup(recipe):
    svg = as_svg(draw_schedule(_spans(recipe)))
    for text in ("$top$ &lt;script&gt;", "layers[-2:]", "frozen", "by size", "1.0e-03"):
        assert text in svg, text
    assert svg.startswith("<svg") and "<script" not in svg


def test_nobody_says_how_long_a_phase_is(tmp_path):
    make_training(tmp_path / "stage2", STAGE2, {"joint": 40})
    with pytest.raises(ConfigError, match="how many steps"):
        read_spans([tmp_path / "stage2"], read_history([tmp_path / "stage2"]))


def test_seeds_share_a_schedule(recipe):
    spans = _spans(recipe)
    found = alike({"a": spans, "b": spans[:1], "a_seed1": list(spans)})
    assert [names for names, _ in found] == [["a", "a_seed1"], ["b"]]
