"""A data directory with recognition and translation in several languages."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = {  # id: (task, lang, tgt, reference, hypothesis)
    "de1": ("asr", "de", "de", "Das ist gut.", "das ist gut"),
    "de2": ("asr", "de", "de", "Guten Tag, Welt", "guten tag feld"),
    "en1": ("asr", "en", "en", "It's twenty dogs.", "It is 20 dogs"),
    "ko1": ("asr", "ko", "ko", "안녕 하세요", "안녕하세요"),
    "zh1": ("asr", "zh", "zh", "你好，世界。", "你 好 世 届"),
    "s1": ("s2tt", "de", "en", "That is good, my friend.", "That is good, my friend."),
    "s2": ("s2tt", "en", "de", "Wir haben zwei große Hunde.", "Wir haben zwei kleine Hunde."),
    "s3": ("s2tt", "en", "zh", "今天天气很好。", "今天天气很好。"),
    "t1": ("t2tt", "es", "en", "We go to the house.", "We go to the house."),
}
HYPOTHESES = {key: values[4] for key, values in EXAMPLES.items()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "test"
    directory.mkdir()
    for name, column in (("utt2task", 0), ("utt2lang", 1), ("utt2tgt", 2), ("text", 3)):
        lines = [f"{key} {values[column]}\n" for key, values in EXAMPLES.items()]
        (directory / name).write_text("".join(lines), encoding="utf-8")
    return directory
