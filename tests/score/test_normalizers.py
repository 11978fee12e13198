"""Whisper's normalisers: the right one for a language, and their known effects."""

import pytest

from espnet_part.score.normalizers import (
    base_language,
    count_combining_marks,
    drop_spaces,
    normalizer_for,
)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "Mr. Smith's colour isn't twenty-five!", "mister smith is color is not 25"),
        ("en-US", "  I'm  gonna go (laughs) [noise]. ", "i am going to go"),
        ("de", " Er sagte: „Schöne Grüße!“ ", "er sagte schöne grüße"),
        ("de", "fünfundzwanzig", "fünfundzwanzig"),
        ("fr", "L'été, c'est-à-dire…", "l été c est à dire"),
        ("es", "¿Qué tal?", "qué tal"),
        ("ru", "Ёлка — это ель.", "ёлка это ель"),
        ("zh", "你好，世界。", "你好 世界"),
        ("ja", "ｶﾞﾗｽ、「はい」", "ガラス はい"),
        ("ko", "안녕하세요!", "안녕하세요"),
        ("de", "...", ""),
    ],
)
def test_hand_cases(language, text, expected):
    assert normalizer_for(language)(text) == expected


def test_only_english_gets_the_english_normaliser():
    assert normalizer_for("en").name == "whisper-english"
    assert normalizer_for("de").name == "whisper-basic"
    assert normalizer_for("de")("colour") == "colour"


def test_equals_the_implementation_in_transformers():
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    reference = BasicTextNormalizer()
    for text in ("Schöne Grüße, Welt!", "你好，世界。", "a (b) [c] d", "naïve façade"):
        assert normalizer_for("fr")(text) == reference(text).strip()


def test_language_tags():
    assert [base_language(x) for x in ("zh-CN", "zh_TW", "cmn", "yue", "pt-BR")] == [
        "zh",
        "zh",
        "zh",
        "yue",
        "pt",
    ]


def test_spaces_of_any_kind_are_dropped():
    assert drop_spaces("你 好\u3000世\u00a0界 ") == "你好世界"


def test_combining_marks_are_counted_where_they_are_lost():
    assert count_combining_marks(["हिन्दी"]) == 3
    assert count_combining_marks(["Grüße", "e\u0301t\u00e9", "ёлка", "ガ", "plain"]) == 0
