import contextlib

import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from espnet_part.decode.language import check_language, language_pair
from espnet_part.errors import ConfigError


@pytest.mark.parametrize("code", ["de", "en", "zh", "yue", "ja", "haw"])
def test_codes_of_languages(code):
    assert check_language(code, "--lang") == code


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        *[("German", "de"), ("deutsch", "de"), ("germna", "de"), ("deu", "de"), ("DE", "de")],
        *[("de-DE", "de"), ("zh-TW", "zh"), ("cmn", "zh"), ("jp", "ja"), ("kr", "ko")],
        *[("Cantonese", "yue"), ("chinees", "zh")],
    ],
)
def test_what_was_meant(given, meant):
    with pytest.raises(ConfigError, match=rf"--to {given}: .*did you mean {meant} \("):
        check_language(given, "--to")


@pytest.mark.parametrize(
    "nonsense",
    ["", "xx", "q", "12", "a b", "--", "\0", "\ud800", "German\n", "x" * 10**6, "a-" * 10**6],
)
def test_nonsense(nonsense):
    with pytest.raises(ConfigError, match="not the code of a language") as refused:
        check_language(nonsense, "--lang")
    assert str(refused.value).isprintable() and len(str(refused.value)) < 200


@any_of(st.text(max_size=70))
def test_any_text_is_a_language_or_an_error(text):
    with contextlib.suppress(ConfigError):
        assert check_language(text, "--lang") == text


def test_pairs():
    assert language_pair("asr", "de", None) == ("de", "de") == language_pair("asr", "de", "de")
    assert language_pair("s2tt", "de", "en") == ("de", "en")
    # to be detected; what is written in a language is what is spoken
    assert language_pair("asr", None, None) == ("", "")
    assert language_pair("asr", None, "de") == ("de", "de")
    assert language_pair("s2tt", None, "en") == ("", "en")
    for wrong, message in [
        (("s2tt", "de", None), "--to is missing"),
        (("s2tt", "de", "de"), "--task asr"),
        (("asr", "de", "en"), "use --task s2tt"),
        (("s2tt", "de", "eng"), "did you mean en"),
    ]:
        with pytest.raises(ConfigError, match=message):
            language_pair(*wrong)
