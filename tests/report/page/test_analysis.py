"""The results of part_analyze in the page."""

import json

import pytest

from espnet_part.document import Heading, Paragraph, Table
from espnet_part.errors import UserError
from espnet_part.report.page import analysis
from espnet_part.report.page.analysis import analysis_parts
from espnet_part.report.page.parts import Image


def test_a_heading_a_picture_and_a_table_each(recipe):
    heading, image, table = analysis_parts(recipe / "exp/analysis")
    assert isinstance(heading, Heading) and isinstance(image, Image) and isinstance(table, Table)
    assert image.source.startswith("data:image/png;base64,") and image.caption == 'a "caption"'
    assert table.header == ["layer", "value"] and len(table.rows) == 1


@pytest.mark.parametrize(
    "entry",
    [
        {"picture": "../secret.png"},
        {"picture": "/etc/hostname"},
        {"picture": "link.png"},
        {"picture": "text.png"},
        {"table": "gone.tsv"},
        "no mapping",
    ],
)
def test_only_files_beside_the_list_are_shown(tmp_path, entry):
    (tmp_path / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    directory = tmp_path / "analysis"
    directory.mkdir()
    (directory / "link.png").symlink_to(tmp_path / "secret.png")
    (directory / "text.png").write_text("no picture")
    (directory / "analysis.json").write_text(json.dumps([entry]))
    with pytest.raises(UserError):
        analysis_parts(directory)


def test_long_tables_and_large_pictures_have_an_end(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis, "LARGEST_BYTES", 10)
    monkeypatch.setattr(analysis, "MOST_ROWS", 2)
    (tmp_path / "a.png").write_bytes((recipe / "exp/analysis/a.png").read_bytes())
    (tmp_path / "a.tsv").write_text("x\n1\n2\n3\n4\t5\n")
    entry = {"title": "t", "picture": "a.png", "table": "a.tsv"}
    (tmp_path / "analysis.json").write_text(json.dumps([entry]))
    _, large, table, more = analysis_parts(tmp_path)
    assert isinstance(large, Paragraph) and "too large" in large.text
    assert isinstance(table, Table) and len(table.rows) == 2
    assert isinstance(more, Paragraph) and more.text.startswith("2 more rows")
