"""Sections as one HTML page, by the templates beside this module."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from espnet_part import display
from espnet_part.data.language_codes import is_language
from espnet_part.report.page.inline import inline_html
from espnet_part.report.page.parts import Section

_NUMBER = re.compile(r"[-+±]?\d[\d.,]*( ?%|\b)")


def render(title: str, sections: Sequence[Section]) -> str:
    """The page; whatever is foreign in it is escaped, and what cannot be seen is written out."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("espnet_part.report.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        inline=inline_html, cell=cell_html, plain=display.plain, drawing=Markup
    )
    environment.tests.update(a=is_a, language=lambda text: is_language(text), number=is_number)
    template = environment.get_template("page.html.jinja")
    return template.render(title=title, sections=sections)


def cell_html(text: str) -> Markup:
    """A cell of a table: Markdown where it is marked so, plain text otherwise."""
    if isinstance(text, display.Markup):
        return inline_html(text)
    return Markup("{}").format(display.plain(text))


def is_a(part: object, kind: str) -> bool:
    """Whether a part is of a class; templates choose by it how to show the part."""
    return type(part).__name__ == kind


def is_number(text: str) -> bool:
    """Whether a cell begins with a number, and is set to the right."""
    return text == "-" or bool(_NUMBER.match(text.lstrip("*")))
