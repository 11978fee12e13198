"""espnet_part/display.py: foreign text says what it is, and does nothing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.display import markdown, plain, value

ANY = st.text(st.characters())


@given(ANY)
def test_plain_text_has_one_line_and_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = plain(text)
    assert len(shown.splitlines()) <= 1
    for character in shown:
        category = unicodedata.category(character)
        assert category not in ("Cc", "Cs", "Co", "Zl", "Zp")
        assert category != "Cf" or character in "\u200c\u200d"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("guten Tag", "guten Tag"),
        ("हिन्दी می\u200cخواهم 你好", "हिन्दी می\u200cخواهم 你好"),
        ("\x1b[2Jgone\r\n", "\\x1b[2Jgone\\x0d\\x0a"),
        ("a\u202eb", "a\\u202eb"),
        ("\udc80", "\\udc80"),
    ],
)
def test_plain(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_long_text_is_cut_and_says_how_long_it_was() -> None:
    assert plain("x" * 1000, 5) == "xxxxx… (1000 characters)"
    assert plain("x" * 5, 5) == "xxxxx"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two_stage", "two_stage"),
        ("_x_", "\\_x\\_"),
        ("a|b", "a\\|b"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("[click](javascript:x)", "\\[click\\](javascript:x)"),
        ("`code` **bold**", "\\`code\\` \\*\\*bold\\*\\*"),
        ("# title", "\\# title"),
        ("1. first", "1\\. first"),
        ("a\n\n# new", "a\\\\x0a\\\\x0a# new".replace("\\\\x", "\\\\x")),
    ],
)
def test_markdown(text: str, shown: str) -> None:
    assert markdown(text) == shown


@given(ANY)
def test_markdown_opens_no_tag_and_no_cell(text: str) -> None:
    shown = markdown(text)
    assert "<" not in shown
    assert ">" not in shown
    assert all(shown[i - 1] == "\\" for i, c in enumerate(shown) if c in "|[]`*")


def test_a_value_is_shown_whatever_it_is() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert value(10**6000) == "a whole number of 19932 bits"
    assert value([10**6000]) == "a list"
    assert value("x" * 10_000).endswith("… (10002 characters)")
    assert value(loop) == "[[...]]"
