import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.data.text import (
    TEXT_NORMALIZERS,
    clean_spaces,
    lower,
    lower_no_punctuation,
    nfkc,
    text_normalizer,
)
from espnet_part.errors import ConfigError


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


def test_none_changes_nothing():
    assert text_normalizer("none")(" Ａ  b.") == " Ａ  b."


@pytest.mark.parametrize(
    ("text", "normal"),
    [("Ｈｉ！　１２％", "Hi! 12%"), ("ﬁn", "fin"), ("ｶﾞ", "ガ"), ("e\u0301", "é"), ("②", "2")],
)
def test_nfkc(text, normal):
    assert nfkc(text) == normal


def test_lower():
    assert lower("STRASSE Straße ÉTÉ ＡＢ Привет") == "strasse straße été ab привет"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Hello, World! “Really?” …", "hello world really"),
        ("It’s rock ’n’ roll, l'été dogs'", "it's rock n roll l'été dogs"),
        ("3.5% of 1,000 at 10:30, e.g. 5°C & more.", "3.5% of 1,000 at 10:30 e g 5°c & more"),
        ("$5 + €7 #1 a@b §2", "$5 + €7 #1 a@b §2"),
        ("well-known – und (so) weiter", "well known und so weiter"),
        ("¿Qué? ¡Sí!", "qué sí"),
        ("你好，世界。Hello，世界！", "你好世界 hello 世界"),
        ("「ジョン・スミス」です。 はい 、そう", "ジョンスミスですはいそう"),
        ("네, 그렇습니다.", "네 그렇습니다"),
        ("हिन्दी में।", "हिन्दी में"),
        ("צה״ל ג׳ירפה", "צה״ל ג׳ירפה"),
        ("...", ""),
    ],
)
def test_lower_no_punctuation(text, normal):
    assert lower_no_punctuation(text) == normal


@given(st.text())
@pytest.mark.parametrize("name", list(TEXT_NORMALIZERS))
def test_a_second_time_changes_nothing(name, text):
    once = text_normalizer(name)(text)
    assert text_normalizer(name)(once) == once


@given(st.text())
def test_no_letter_and_no_mark_is_lost(text):
    def letters(value):
        return [c for c in value if unicodedata.category(c)[0] in "LMN"]

    # what punctuation separated may not be composed
    assert letters(lower_no_punctuation(text)) == letters(lower(text))


def test_unknown_normaliser():
    with pytest.raises(ConfigError, match="did you mean `lower`"):
        text_normalizer("lowr")
