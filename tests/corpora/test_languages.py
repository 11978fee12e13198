"""Lists of languages and tasks in options."""

from __future__ import annotations

import pytest

from espnet_part.corpora.languages import PART_LANGUAGES, parse_languages, parse_tasks
from espnet_part.errors import ConfigError


def test_lists():
    assert parse_languages("de,fr en,,de") == ("de", "fr", "en")
    assert parse_languages(",".join(PART_LANGUAGES)) == PART_LANGUAGES
    assert parse_languages("ca cy") == ("ca", "cy")
    assert parse_tasks("s2tt,asr", ("asr", "s2tt")) == ("s2tt", "asr")


@pytest.mark.parametrize(
    ("text", "known", "said"),
    [
        ("cn", None, "unknown language 'cn'; did you mean 'zh'"),
        ("German", None, "did you mean 'de'"),
        ("zh-HK", None, "did you mean 'yue'"),
        ("qqqq", None, "codes are those of ISO 639"),
        ("fr", ("de", "en"), "unknown language 'fr'; known: de, en"),
        ("ge", ("de", "en"), "did you mean 'de'?; known: de, en"),
        (" , ", None, "no language is given"),
    ],
)
def test_unknown_languages(text, known, said):
    with pytest.raises(ConfigError) as error:
        parse_languages(text, known)
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["asr,tts", ""])
def test_unknown_tasks(text):
    with pytest.raises(ConfigError, match="known: asr, s2tt"):
        parse_tasks(text, ("asr", "s2tt"))
