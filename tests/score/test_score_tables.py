"""Foreign names in tables and notes are shown, never obeyed."""

from __future__ import annotations

from espnet_part.display import Markup, code, sentence
from espnet_part.score.score_tables import markdown


def test_cells_show_what_they_say() -> None:
    table = markdown(
        ["system", "a|b"], [["<img src=x> [link](y)", "95.0"], [Markup("**1.0**"), code("p|q")]]
    )
    assert table.splitlines() == [
        r"|system|a\|b|",
        "|---|---|",
        r"|&lt;img src=x&gt; \[link\](y)|95.0|",
        r"|**1.0**|`p\|q`|",
    ]


def test_a_sentence_keeps_its_own_marks_only() -> None:
    assert sentence("tokens `<de>` of <b>x") == "tokens `<de>` of &lt;b&gt;x"
    assert sentence("a `lone backtick <b>") == "a lone backtick &lt;b&gt;".replace(
        "a lone", "a lone"
    )
