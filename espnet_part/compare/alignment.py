"""Which hypothesis belongs to which reference, by stated rules and never by a guess.

An id that is exactly a reference's is its. For the rest the user may give rules: regular
expressions for what to strip from both sides' ids. What no rule matches stays unmatched and is
reported; two candidates for one place are an error.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from espnet_part.errors import ConfigError, DataError


@dataclass(frozen=True)
class IdRules:
    """Regular expressions of what is stripped from the beginning and the end of an id."""

    strip_prefix: str = ""
    strip_suffix: str = ""

    def __post_init__(self) -> None:
        for option in ("strip_prefix", "strip_suffix"):
            try:
                re.compile(getattr(self, option))
            except re.error as error:
                raise ConfigError(f"{option}: {getattr(self, option)!r}: {error}") from None

    def __bool__(self) -> bool:
        return bool(self.strip_prefix or self.strip_suffix)

    def strip(self, utterance: str) -> str:
        if self.strip_prefix:
            utterance = re.sub(f"^(?:{self.strip_prefix})", "", utterance)
        if self.strip_suffix:
            utterance = re.sub(f"(?:{self.strip_suffix})$", "", utterance)
        return utterance

    def __str__(self) -> str:
        rules = [
            f"--{name}={value}"
            for name, value in (
                ("strip_prefix", self.strip_prefix),
                ("strip_suffix", self.strip_suffix),
            )
            if value
        ]
        return " ".join(rules)


@dataclass(frozen=True)
class Alignment:
    """Texts by the references' ids, and how they came there.

    Attributes:
        matched: number of texts by rule ("exact", "speaker prefix", or the options given).
        missing: references without a text.
        unexpected: ids that belong to no reference; their texts are left out.
    """

    texts: dict[str, str]
    matched: dict[str, int]
    missing: list[str]
    unexpected: list[str]


def align(
    references: Collection[str],
    texts: Mapping[str, str],
    rules: IdRules = IdRules(),
    speakers: Mapping[str, str] | None = None,
    what: str = "hypotheses",
) -> Alignment:
    """Give each reference id its text.

    Args:
        references: the ids that count.
        texts: by the ids of another file.
        rules: tried on ids that are no reference's; both sides are stripped.
        speakers: utt2spk of the references, by which "speaker-utterance", the key of ESPnet's trn
            files, is taken apart exactly.
        what: what the texts are, for messages.

    Raises:
        DataError: an id fits several references, two ids fit one, or nothing fits at all.
    """
    known = set(references)
    with_speaker = {
        f"{speaker}-{utterance}": utterance
        for utterance, speaker in (speakers or {}).items()
        if utterance in known
    }
    stripped: dict[str, list[str]] = {}
    if rules:
        for utterance in references:
            stripped.setdefault(rules.strip(utterance), []).append(utterance)
    found: dict[str, str] = {}
    origin: dict[str, str] = {}
    matched: dict[str, int] = {}
    unexpected = []
    for key, text in texts.items():
        if key in known:
            utterance, rule = key, "exact"
        elif key in with_speaker:
            utterance, rule = with_speaker[key], "speaker prefix of trn files"
        elif rules and rules.strip(key) in stripped:
            candidates = stripped[rules.strip(key)]
            if len(candidates) > 1:
                raise DataError(
                    f"{what}: {key} fits {', '.join(candidates[:3])}; choose one task by --tasks, "
                    f"or rules other than {rules}"
                )
            utterance, rule = candidates[0], str(rules)
        else:
            unexpected.append(key)
            continue
        if utterance in found:
            raise DataError(f"{what}: {origin[utterance]} and {key} both fit {utterance}")
        found[utterance], origin[utterance] = text, key
        matched[rule] = matched.get(rule, 0) + 1
    if not found:
        raise DataError(f"{what}: {_no_match(known, list(texts), rules)}")
    missing = [utterance for utterance in references if utterance not in found]
    return Alignment(found, matched, missing, unexpected)


def _no_match(references: Collection[str], keys: list[str], rules: IdRules) -> str:
    if not references or not keys:
        return "nothing to match"
    key, reference = keys[0], min(references)
    message = f"no id is a reference's, such as {key}; references are such as {reference}"
    if rules:
        return f"{message}; the rules {rules} do not make them equal"
    for reference in sorted(references):
        for longer, shorter in ((reference, key), (key, reference)):
            if longer.startswith(shorter):
                rest = re.escape(longer.removeprefix(shorter)).replace(r"\-", "-")
                return f"{message}; --strip_suffix='{rest}' would make {longer} equal {shorter}"
            if longer.endswith(shorter):
                rest = re.escape(longer.removesuffix(shorter)).replace(r"\-", "-")
                return f"{message}; --strip_prefix='{rest}' would make {longer} equal {shorter}"
    return f"{message}; give --strip_prefix or --strip_suffix"
