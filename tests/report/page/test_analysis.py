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
        {"picture": "nul\0.png"},
        "no mapping",
    ],
)
def test_only_files_beside_the_list_are_shown_and_a_bad_entry_costs_no_other(tmp_path, entry):
    (tmp_path / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    directory = tmp_path / "analysis"
    directory.mkdir()
    (directory / "link.png").symlink_to(tmp_path / "secret.png")
    (directory / "text.png").write_text("no picture")
    (directory / "analysis.json").write_text(json.dumps([entry, {"caption": "good"}]))
    parts = analysis_parts(directory)
    assert not [part for part in parts if isinstance(part, Image | Table)]
    said = [part.text for part in parts if isinstance(part, Paragraph)]
    assert len(said) == 2 and said[0].startswith("Not here: ") and said[1] == "good"
    (directory / "analysis.json").write_text("{}")
    with pytest.raises(UserError):
        analysis_parts(directory)


def test_a_field_may_be_long(tmp_path):
    (tmp_path / "a.tsv").write_text("x\ty\n" + 200_000 * "z" + "\t1\n")
    (tmp_path / "analysis.json").write_text(json.dumps([{"table": "a.tsv"}]))
    _, table = analysis_parts(tmp_path)
    assert isinstance(table, Table) and table.rows[0] == [200_000 * "z", "1"]


def test_a_picture_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    with (tmp_path / "a.png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(analysis.LARGEST_BYTES + 1)
    monkeypatch.setattr("pathlib.Path.read_bytes", None)
    (tmp_path / "analysis.json").write_text(json.dumps([{"picture": "a.png"}]))
    assert "too large" in analysis_parts(tmp_path)[1].text


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
