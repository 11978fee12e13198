"""Bar charts: what is drawn where, in the drawing itself."""

import pytest

from espnet_part.report import bars
from espnet_part.report.bars import AVERAGE, Panel, plot_panels

LANGUAGES = ["zh", "en", "ja", "ko", "yue", "de", "fr", "ru", "es", "it"]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would be written."""
    figures = []

    def keep(figure, path):
        figure.canvas.draw()
        figures.append(figure)

    monkeypatch.setattr(bars, "save", keep)
    return figures


def _panel(systems=5, languages=LANGUAGES, **more):
    values = {
        f"system {n}": {code: 5.0 + n + k for k, code in enumerate(languages)}
        for n in range(systems)
    }
    ranges = {
        name: {code: (figure - 1, figure + 2) for code, figure in row.items()}
        for name, row in values.items()
    }
    return Panel("title", "WER (%)", values, ranges, **more)


def _overlapping(figure):
    renderer = figure.canvas.get_renderer()
    boxes = [
        text.get_window_extent(renderer)
        for axis in figure.axes
        for text in (*axis.texts, *axis.get_xticklabels())
        if text.get_text()
    ]
    return [
        (a, b)
        for i, a in enumerate(boxes)
        for b in boxes[i + 1 :]
        if a.padded(-1).overlaps(b.padded(-1))
    ]


def test_ten_languages_and_five_systems_do_not_overlap(drawn, tmp_path):
    plot_panels([_panel()], tmp_path / "x.png")
    (figure,) = drawn
    assert len(figure.axes) == 2, "55 bars go into two rows"
    assert sum(len(axis.patches) for axis in figure.axes) == 55
    assert len({axis.get_ylim() for axis in figure.axes}) == 1
    assert _overlapping(figure) == []
    names = [label.get_text() for axis in figure.axes for label in axis.get_xticklabels()]
    assert names == [*LANGUAGES, AVERAGE]


def test_intervals_are_error_bars(drawn, tmp_path):
    plot_panels([_panel(2, ["de", "en"])], tmp_path / "x.png")
    (axis,) = drawn[0].axes
    ends = sorted(
        tuple(point[1] for point in segment)
        for lines in axis.collections
        for segment in lines.get_segments()
    )
    assert ends == [(4.0, 7.0), (5.0, 8.0), (5.0, 8.0), (6.0, 9.0)]


def test_published_figures_are_hollow_and_no_bars(drawn, tmp_path):
    published = {"Other": {"de": 7.5, "average": 1.0}, "Elsewhere": {"sw": 3.0}}
    plot_panels([_panel(2, ["de", "en"], published=published)], tmp_path / "x.png")
    (axis,) = drawn[0].axes
    assert len(axis.patches) == 6, "two systems, two languages and the average"
    hollow = [line for line in axis.lines if line.get_markerfacecolor() == "none"]
    assert [line.get_ydata().tolist() for line in hollow] == [[7.5]]
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["system 0", "system 1", "Other (published)"]
    assert _overlapping(drawn[0]) == []


def test_missing_values(drawn, tmp_path):
    values = {"a": {"de": 1.0, "en": None}, "b": {"de": 2.0}}
    plot_panels([Panel("x", "y", values)], tmp_path / "x.png")
    (axis,) = drawn[0].axes
    assert [bar.get_height() for bar in axis.patches] == [1.0, 2.0]
    assert AVERAGE not in [label.get_text() for label in axis.get_xticklabels()]


def test_a_png_is_written(tmp_path):
    plot_panels([_panel(1, ["de"])], tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no score"):
        plot_panels([Panel("x", "y", {"a": {}})], tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
