"""How languages are written, for the 102 languages of FLEURS and some more."""

import pytest

from espnet_part.score.bleu import tokenizer_for
from espnet_part.score.counting import units_of
from espnet_part.score.score_config import ScoreConfig
from espnet_part.scripts import _UNSPACED, base_language, lower_case, parts_words, runs_together

_CODES = """
af am ar hy as ast az be bn bs bg my yue ca ceb cmn hr cs da nl en et fil fi fr ff gl lg ka de el gu
ha he hi hu is ig id ga it ja jv kea kam kn kk km ko ky lo lv ln lt luo lb mk ms ml mt mi mr mn ne nso
nb ny oc or om ps fa pl pt pa ro ru sr sn sd sk sl so ckb es sw sv tg ta te th tr uk umb ur uz vi cy wo
xh yo zu
"""
FLEURS = _CODES.split()
_CHINESE = ["nan", "wuu", "hak", "gan", "hsn", "cdo", "cjy", "lzh", "cmn-Hant", "zh_TW", "yue-HK"]
BY_CHARACTER = {"my", "yue", "cmn", "ja", "km", "ko", "lo", "th"}
TOKENIZERS = {"yue": "zh", "cmn": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}


@pytest.fixture(autouse=True)
def _no_flores_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espnet_part.score.bleu._has_flores200", lambda: False)


def test_units_and_tokenizers_of_fleurs() -> None:
    assert len(FLEURS) == len(set(FLEURS)) == 102
    config = ScoreConfig()
    assert {code for code in FLEURS if units_of(code, config)[0] == "character"} == BY_CHARACTER
    for code in FLEURS:
        otherwise = "char" if code in BY_CHARACTER else "13a"
        assert tokenizer_for(code) == TOKENIZERS.get(code, otherwise), code


@pytest.mark.parametrize("code", _CHINESE)
def test_all_of_chinese_is_counted_by_characters(code: str) -> None:
    assert units_of(code, ScoreConfig()) == ["character"]
    assert tokenizer_for(code) == "zh"


@pytest.mark.parametrize(
    "code", ["bo", "dz", "shn", "mnw", "ii", "jv-Java", "tha", "lao", "khm", "mya"]
)
def test_other_scripts_without_spaces(code: str) -> None:
    assert not parts_words(code)
    assert tokenizer_for(code) == "char"


def test_flores200_where_its_model_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espnet_part.score.bleu._has_flores200", lambda: True)
    assert [tokenizer_for(code) for code in ("th", "km", "de", "zh")] == ["flores200"] * 2 + [
        "13a",
        "zh",
    ]


def test_a_languages_other_script_is_seen_in_its_text() -> None:
    javanese = ["ꦧꦱꦗꦮ ꦏꦁ"]
    assert units_of("jv", ScoreConfig(), javanese) == ["character"]
    assert tokenizer_for("jv", javanese) == "char"
    assert units_of("jv", ScoreConfig(), ["basa Jawa"]) == ["word"]
    assert not runs_together([])
    assert not runs_together(["안녕 하세요", "tiếng Việt"])


def test_korean_is_counted_both_ways() -> None:
    assert units_of("ko", ScoreConfig()) == ["character", "word"]


def test_scripts_without_spaces_are_those_of_unicodes_line_breaking() -> None:
    regex = pytest.importorskip("regex")
    unicodedata = pytest.importorskip("fontTools.unicodedata")
    inside = regex.compile(r"[\p{Line_Break=SA}\p{Line_Break=ID}\p{Line_Break=CJ}]")
    found: dict[str, list[bool]] = {}
    for number in range(0x0E00, 0x30000):
        letter = chr(number)
        if letter.isalpha():
            found.setdefault(unicodedata.script(letter), []).append(bool(inside.match(letter)))
    unspaced = {script for script, breaks in found.items() if sum(breaks) > 0.5 * len(breaks)}
    known = {*_UNSPACED, "Zyyy", "Zinh"}
    # historic scripts and Khitan are no loss; Hangul has spaces
    assert unspaced - known <= {"Kits", "Hang"}
    assert {"Thai", "Laoo", "Khmr", "Mymr", "Hani", "Hira", "Kana", "Yiii", "Lana"} <= unspaced


def test_base_language() -> None:
    tags = ("zh-CN", "cmn", "deu", "en_US", "yue", "azj", "qqq")
    assert [base_language(tag) for tag in tags] == ["zh", "zh", "de", "en", "yue", "azj", "qqq"]


@pytest.mark.parametrize(
    ("language", "text", "lower"),
    [
        ("tr", "İSTANBUL IŞIK", "istanbul ışık"),
        ("az", "İI", "iı"),
        ("de", "İstanbul", "istanbul"),
        ("lt", "I\u0307\u0301", "i\u0301"),
        ("el", "ΟΔΟΣ", "οδος"),
        ("en", "ISTANBUL", "istanbul"),
    ],
)
def test_lower_case(language: str, text: str, lower: str) -> None:
    assert lower_case(text, language) == lower
