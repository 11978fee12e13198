"""Foreign names in tables and notes are shown, never obeyed."""

from __future__ import annotations

from espnet_part.display import Markup, code, sentence
from espnet_part.document import Bullets, Heading, Paragraph, Table, to_markdown


def test_cells_show_what_they_say() -> None:
    table = Table(
        ["system", "a|b"], [["<img src=x> [link](y)", "95.0"], [Markup("**1.0**"), code("p|q")]]
    )
    assert str(table).splitlines() == [
        r"|system|a\|b|",
        "|---|---|",
        r"|&lt;img src=x&gt; \[link\](y)|95.0|",
        r"|**1.0**|`p\|q`|",
    ]
    assert table and not Table(["system"], [])


def test_a_sentence_keeps_its_own_marks_only() -> None:
    assert sentence("tokens `<de>` of <b>x") == "tokens `<de>` of &lt;b&gt;x"
    assert sentence("a `lone backtick <b>") == "a lone backtick &lt;b&gt;".replace(
        "a lone", "a lone"
    )


def test_blocks_are_parted_by_empty_lines_and_lists_hold_lists() -> None:
    blocks = [Heading(2, "A"), Paragraph("b"), Bullets(["c", Bullets(["d", "e"]), "f"])]
    assert to_markdown(blocks) == "## A\n\nb\n\n- c\n  - d\n  - e\n- f"
