"""Markdown of our sentences as HTML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part import display
from espnet_part.report.page.inline import inline_html
from espnet_part.report.page.render import cell_html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a **b** `c<d`", "a <strong>b</strong> <code>c&lt;d</code>"),
        (r"\*\*a\*\* \[x\](y) &lt;b&gt; &amp;amp;", "**a** [x](y) &lt;b&gt; &amp;amp;"),
        ("a ** b", "a ** b"),
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("[x](http://y) ![z](w)", "[x](http://y) ![z](w)"),
        ("a\n\x1b\u202eb", "a\n\\x1b\\u202eb"),
    ],
)
def test_marks_of_ours_are_obeyed_and_others_shown(text, html):
    assert inline_html(text) == html


@given(st.text())
def test_whatever_markdown_shows_html_shows(text):
    plain = inline_html(display.markdown(text)).unescape()
    assert plain == display.plain(text)


@given(st.text(alphabet="*`\\<>&ab\n;lt"))
def test_tags_are_closed_and_no_others_than_ours(text):
    html = str(inline_html(text))
    assert html.count("<strong>") == html.count("</strong>")
    for tag in ("<strong>", "</strong>", "<code>", "</code>"):
        html = html.replace(tag, "")
    assert "<" not in html and ">" not in html


def test_cells_are_plain_unless_they_say_otherwise():
    assert cell_html("**a** <b>") == "**a** &lt;b&gt;"
    assert cell_html(display.Markup("**a**")) == "<strong>a</strong>"
