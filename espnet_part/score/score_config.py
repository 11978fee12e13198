"""Settings of scoring: what is compared with what, and how sure the figures are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from espnet_part.config import build, load_yaml
from espnet_part.data.language_codes import is_language, say_language

_STRICT = pydantic.ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class BootstrapConfig:
    """Confidence intervals and paired tests.

    Attributes:
        samples: how often the utterances are drawn anew; 0 for no intervals.
        seed: the same seed gives the same intervals.
        level: of confidence.
    """

    samples: int = Field(default=1000, ge=0)
    seed: int = Field(default=0, ge=0)
    level: float = Field(default=0.95, gt=0, lt=1)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class HallucinationConfig:
    """From where on an output counts as a hallucination (see `hallucination.find_signs`).

    Attributes:
        repeats: an n-gram this often in a row, unless the reference has as many, is one.
        longest_ngram: of words, or of characters in languages counted by characters.
        words_per_second: more of them are faster than anybody speaks; quick speech has about 5.
        characters_per_second: likewise, for languages counted by characters; quick speech has 8.
        length_ratio: an output longer than so many references (plus ``extra_units``) is one.
        extra_units: words or characters that an output may always have too many; it spares very
            short references.
    """

    repeats: int = Field(default=4, ge=2)
    longest_ngram: int = Field(default=8, ge=1)
    words_per_second: float = Field(default=8.0, gt=0)
    characters_per_second: float = Field(default=16.0, gt=0)
    length_ratio: float = Field(default=2.0, ge=1)
    extra_units: int = Field(default=5, ge=0)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ScoreConfig:
    """What `conf/score.yaml` says.

    Attributes:
        normalizer: of both sides before an error rate; see `normalizers`.
        cer_languages: codes of languages that are counted by characters though they have spaces between
            words; those that have none always are.
        wer_languages: codes of languages that are counted by words whatever their script: of texts that
            somebody has cut into words.
        chinese_script: "simplified" or "traditional" turns both sides of Chinese and Cantonese
            recognition into that script before the normaliser (needs the package `opencc`).
    """

    normalizer: Literal[
        "whisper", "whisper_keep_marks", "basic", "basic_keep_marks", "nfkc", "none"
    ] = "whisper"
    cer_languages: tuple[str, ...] = ("ko",)
    wer_languages: tuple[str, ...] = ()
    chinese_script: Literal["keep", "simplified", "traditional"] = "keep"
    bootstrap: BootstrapConfig = BootstrapConfig()
    hallucination: HallucinationConfig = HallucinationConfig()

    def __post_init__(self) -> None:
        for code in (*self.cer_languages, *self.wer_languages):
            if not is_language(code):
                raise ValueError(f"no code of a language: {say_language(code)}")


def load_score_config(path: str | Path) -> ScoreConfig:
    """Read a score.yaml.

    Raises:
        ConfigError: missing or unreadable file, or an unknown or impossible setting.
    """
    return build(ScoreConfig, load_yaml(path), str(path))
