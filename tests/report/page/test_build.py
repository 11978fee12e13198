"""report.html as a whole: beside RESULTS.md, whatever is lacking."""

import html.parser
import json
import logging
import re
import shutil

import pytest

from espnet_part.bin.part_report import main
from espnet_part.report.page import build
from tests.report.page.make import EVIL

SECTIONS = [
    *("summary", "schedule", "curves", "scores", "analysis", "examples", "worst", "data"),
    *("cost", "provenance"),
]
VOID = {"meta", "link", "img", "br"}


class Reader(html.parser.HTMLParser):
    """Notes tags, and that each is closed; attributes by tag; text outside of drawings."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.texts = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "svg" not in self.open and "style" not in self.open:
            self.texts.append(data)


def _read(path):
    reader = Reader()
    text = path.read_text(encoding="utf-8")
    reader.feed(text)
    assert reader.open == []
    return text, reader


def test_the_page_is_whole_and_needs_nothing_else(recipe):
    text, page = _read(recipe / "exp/report.html")
    found = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    assert found == SECTIONS
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert len(text) < 1_500_000
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "xlink:href", "data"):
            assert value.startswith(("data:", "#")), (tag, name, value)
    assert not re.search(r"url\((?!#)", text)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert page.tags.count("audio") == 4 and page.tags.count("svg") >= 4


def test_foreign_text_is_shown_and_not_obeyed(recipe):
    text, page = _read(recipe / "exp/report.html")
    assert "script" not in page.tags and "b" not in page.tags
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(sources) == 1 and sources[0].startswith("data:image/png")
    shown = " ".join(page.texts)
    for words in (EVIL, "part<b>&'x", "A *note*", "\\u202e", "\\x1b[31m", "مرحبا"):
        assert words in shown, words
    assert "\u202e" not in text and "\x1b" not in text


def test_tables_say_what_results_md_says(recipe):
    _, page = _read(recipe / "exp/report.html")
    results = (recipe / "exp/RESULTS.md").read_text(encoding="utf-8")
    cells = {cell for line in results.split("\n") for cell in line.split("|")[1:-1]}
    figures = {cell for cell in cells if re.fullmatch(r"[\d.]+( \[.*\])?", cell)}
    assert len(figures) > 10
    assert figures <= set(page.texts)


def test_what_is_lacking_is_told(own_recipe, tmp_path, capsys):
    (tmp_path / "data/test/text").unlink()
    (tmp_path / "exp/part/stage1/config.yaml").unlink()
    (tmp_path / "exp/analysis/a.png").write_text("no picture")
    (tmp_path / "data/train/utt2task").write_text("")
    main(own_recipe)
    _, page = _read(tmp_path / "exp/report.html")
    shown = " ".join(page.texts)
    for words in ("is no PNG", "Not here:", "no such file"):
        assert words in shown, words
    assert str(tmp_path / "exp/report.html").endswith(capsys.readouterr().out.split()[-1])


def test_trainings_alone_make_a_page(own_recipe, tmp_path):
    for decoding in (tmp_path / "exp").glob("*/decode"):
        shutil.rmtree(decoding)
    main(["--train", "x=exp/part/stage1"])
    _, page = _read(tmp_path / "exp/report.html")
    assert "No system has been scored." in page.texts and "svg" in page.tags


@pytest.mark.parametrize("drawing", ["bars.draw_panels", "plots.learning_curves", "plots.save"])
def test_a_picture_that_fails_costs_no_table(own_recipe, tmp_path, monkeypatch, caplog, drawing):
    def fail(*args, **options):
        raise RuntimeError("no <canvas>")

    monkeypatch.setattr(f"espnet_part.report.{drawing}", fail)
    with caplog.at_level(logging.WARNING):
        main(own_recipe)
    assert "cannot be drawn: no <canvas>" in caplog.text
    assert "|other|" in (tmp_path / "exp/RESULTS.md").read_text()
    assert json.loads((tmp_path / "exp/results.json").read_text())["systems"]
    _, page = _read(tmp_path / "exp/report.html")
    assert ("no <canvas>" in " ".join(page.texts)) == (drawing != "plots.save")


def test_a_section_that_fails_costs_no_other(own_recipe, tmp_path, monkeypatch):
    def fail(*args):
        raise ValueError("odd <data>")

    monkeypatch.setattr(build, "worst_parts", fail)
    main(own_recipe)
    _, page = _read(tmp_path / "exp/report.html")
    assert "Not here: ValueError: odd <data>" in page.texts
    assert page.tags.count("audio") == 4
