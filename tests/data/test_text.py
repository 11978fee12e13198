import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.data.text import clean_spaces


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain text", "plain text"),
        ("  two  spaces ", "two spaces"),
        ("no\u00a0break", "no break"),
        ("thin\u2009narrow\u202fspace", "thin narrow space"),
        ("line\u2028separator\u2029s", "line separator s"),
        ("ideographic\u3000space", "ideographic space"),
        ("tab\tand\r\nnewline\x0b\x85", "tab and newline"),
        ("nul\x00byte", "nul byte"),
        ("zero\u200bwidth", "zerowidth"),
        ("\ufeffmark", "mark"),
        ("\u200eleft\u200f-right", "left-right"),
        ("bi\u202adi\u202c", "bidi"),
        ("soft\u00adhyphen", "softhyphen"),
        ("latin\u200djoiner", "latinjoiner"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("\u0645\u06cc\u200c ", "\u0645\u06cc"),
        ("a \u200b b", "a b"),
        ("", ""),
        (" \u3000\u200b\t", ""),
    ],
)
def test_spaces_are_cleaned(text, clean):
    assert clean_spaces(text) == clean


@given(st.text())
def test_only_spaces_and_invisible_characters_change(text):
    clean = clean_spaces(text)
    assert clean_spaces(clean) == clean
    assert clean == " ".join(clean.split())
    assert not any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in clean)

    def visible(value):
        return [c for c in value if unicodedata.category(c)[0] not in "ZC"]

    assert visible(clean) == visible(text)
