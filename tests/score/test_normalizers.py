"""Whisper's normalisers: the right one for a language, and their known effects."""

import sys

import pytest

from espnet_part.errors import ConfigError
from espnet_part.score.normalizers import (
    base_language,
    count_combining_marks,
    drop_spaces,
    normalize_pair,
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


def test_normaliser_by_name():
    assert normalizer_for("en", "basic").name == "whisper-basic"
    assert normalizer_for("en", "basic")("Colour, isn't it?") == "colour isn t it"
    assert normalizer_for("en", "none").name == "none"
    assert normalizer_for("en", "none")(" Colour,\u3000isn't  it? ") == "Colour, isn't it?"


@pytest.mark.parametrize("language", ["zh", "yue", "zh-HK"])
def test_chinese_script_is_converted_where_asked(language):
    pytest.importorskip("opencc")
    simplified = normalizer_for(language, script="simplified")
    assert simplified.name == "opencc-t2s+whisper-basic"
    assert simplified("佢哋喺學校講嘢。") == "佢哋喺学校讲嘢"
    assert normalizer_for(language, script="traditional")("学校") == "學校"
    assert normalizer_for(language)("學校") == "學校"


def test_other_languages_keep_their_script():
    assert normalizer_for("ja", script="simplified").name == "whisper-basic"
    assert normalizer_for("ja", script="simplified")("學校") == "學校"


def test_missing_converter_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opencc", None)
    normalizer_for.cache_clear()
    with pytest.raises(ConfigError, match="pip install opencc"):
        normalizer_for("zh", script="simplified")


@pytest.mark.parametrize(
    ("language", "text", "capitals"),
    [
        ("tr", "İstanbul'da ılık bir gün ışığı", "İSTANBUL'DA ILIK BİR GÜN IŞIĞI"),
        ("az", "İlin ilk günü qızıl", "İLİN İLK GÜNÜ QIZIL"),
        ("lt", "Ąžuolas, įlanka ir ėjimas", "ĄŽUOLAS, ĮLANKA IR ĖJIMAS"),
        ("el", "Ο δρόμος είναι μακρύς", "Ο ΔΡΟΜΟΣ ΕΙΝΑΙ ΜΑΚΡΥΣ"),
        ("el", "Ο δρόμος είναι μακρύς", "Ο ΔΡΌΜΟΣ ΕΊΝΑΙ ΜΑΚΡΎΣ"),
        ("de", "Die Straße ist heiß.", "DIE STRASSE IST HEISS."),
        ("de", "Die Straße ist heiß.", "DIE STRAẞE IST HEIẞ."),
        ("fr", "L'été, ça va", "L'ÉTÉ, ÇA VA"),
        ("ka", "გამარჯობა", "ᲒᲐᲛᲐᲠᲯᲝᲑᲐ"),
        ("hy", "Բարեւ ձեզ", "ԲԱՐԵՒ ՁԵԶ"),
        ("ru", "Ёлка и йод", "ЁЛКА И ЙОД"),
        ("vi", "Tiếng Việt", "TIẾNG VIỆT"),
        ("en", "It isn't twenty-five", "IT ISN'T TWENTY-FIVE"),
    ],
)
@pytest.mark.parametrize("name", ["whisper", "whisper_keep_marks", "basic", "nfkc"])
def test_another_case_is_no_error(language: str, text: str, capitals: str, name: str) -> None:
    one, other = normalize_pair(normalizer_for(language, name), language, text, capitals)
    assert one == other
    assert one


def test_texts_that_are_not_in_capitals_stay_as_whisper_has_them() -> None:
    normalize = normalizer_for("de")
    assert normalize_pair(normalize, "de", "Schöne Grüße", "Schöne Grüsse") == (
        "schöne grüße",
        "schöne grüsse",
    )


def test_normalisers_that_keep_marks() -> None:
    right, wrong = "हिन्दी भाषा।", "हिन्दा भाषी।"  # two wrong vowels
    assert normalizer_for("hi")(right) == normalizer_for("hi")(wrong)
    keep = normalizer_for("hi", "whisper_keep_marks")
    assert keep.name == "basic-keep-marks"
    assert keep(right) == "हिन्दी भाषा"
    assert keep(right) != keep(wrong)
    assert keep("(हँसी) <unk> भाषा") == "भाषा"
    assert normalizer_for("en", "whisper_keep_marks").name == "whisper-english"
    assert normalizer_for("en", "basic_keep_marks").name == "basic-keep-marks"
    assert normalizer_for("hi", "nfkc")(" हिन्दी,\u3000Ａ ") == "हिन्दी, a"


def test_basic_keep_marks_is_whispers_basic_one_but_for_marks() -> None:
    for text in ("Schöne Grüße, Welt!", "你好，世界。", "a (b) [c] d", "naïve façade", "x < y > z"):
        assert normalizer_for("fr", "basic_keep_marks")(text) == normalizer_for("fr")(text)
