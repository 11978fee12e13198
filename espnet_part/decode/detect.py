"""Which language is spoken: the one in whose prompt the model is surest of what it writes.

The speech is transcribed as each of the languages, by the model's own prompt. With equal priors, a language
is as likely as its answer is: its log probability a token, since answers in several languages have no
length in common. An adapter that hears by CTC says as well how well the letters fit, as joint CTC and
attention decoding asks it: in the prompt of another language a model may translate, and be as sure of that.
docs/site/howto/transcribe.md has how often it is right.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from espnet_part.decode.direction import Direction
from espnet_part.decode.longform import Window
from espnet_part.errors import ConfigError
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.tasks import ASR, TASKS

TOKENS = 64
"""Most of an answer by which a language is detected; in one that is not spoken it may not end."""
CTC_WEIGHT = 0.02
"""What a nat a character of a CTC counts for, in nats a token."""
_SCALE = 10.0  # what a nat a token counts for, in nats; rather too modest than too sure
_ENOUGH = 10.0  # seconds of speech that decide about a file
_LEAST = 1e-30  # a probability of 0 has no logarithm


class Guess(NamedTuple):
    """A language that may be spoken."""

    lang: str
    probability: float


def candidates(
    trained_on: Collection[tuple[str, str, str]],
    direction: Direction,
    langs: Sequence[str] | None = None,
) -> list[str]:
    """The languages among which the one that is heard is detected.

    Args:
        trained_on: (task, language, target language) that the model was trained on.
        direction: what is asked for.
        langs: those that it may be; by default all that the model was trained to transcribe, and for
            a translation, of those, the ones that it was trained to translate from, if any.

    Raises:
        ConfigError: the model does not say what it was trained on, or was not trained to transcribe
            one of ``langs``.
    """
    known = {lang for task, lang, _ in trained_on if task == ASR.name}
    task, _, tgt = direction.stratum
    trained = {lang for name, lang, written in trained_on if name == task and tgt in ("", written)}
    if not langs and len(trained) == 1:  # nothing else can be meant
        return sorted(trained)
    if not known:
        raise ConfigError(
            "the model does not say which languages it was trained to transcribe: name the one that is "
            "spoken (lang='de', --lang de)"
        )
    if langs:
        for lang in langs:
            if lang not in known:
                raise ConfigError(
                    f"{lang} cannot be detected: the model was not trained to transcribe it "
                    f"({', '.join(sorted(known))})"
                )
        return sorted(set(langs))
    possible = {lang for lang in known if not TASKS[task].why_not(lang, tgt or lang)}
    if not possible:
        raise ConfigError(f"the model was not trained to transcribe {tgt}")
    return sorted(trained & known or possible)


def weigh(langs: Sequence[str], scores: Sequence[float]) -> list[Guess]:
    """The languages with their probabilities, the likeliest first.

    Args:
        scores: how likely the answer in each language is, in nats a token.
    """
    weights = [math.exp(_SCALE * (score - max(scores))) for score in scores]
    guesses = [Guess(lang, w / sum(weights)) for lang, w in zip(langs, weights, strict=True)]
    return sorted(guesses, key=lambda guess: -guess.probability)


def together(found: Sequence[Sequence[Guess]]) -> list[Guess]:
    """What several clips of one language say of it: the mean of their log probabilities."""
    sums: dict[str, float] = {}
    for guesses in found:
        for lang, probability in guesses:
            sums[lang] = sums.get(lang, 0.0) + math.log(max(probability, _LEAST))
    means = [total / len(found) / _SCALE for total in sums.values()]
    return weigh(list(sums), means)


def take_opening(windows: Iterator[Window]) -> list[Window]:
    """Take the windows of a file that decide which language is spoken in it: its first ten seconds of
    speech. Each is heard by itself: a model may know nothing as long as all of them."""
    taken: list[Window] = []
    for window in windows:
        taken.append(window)
        if sum(len(each.samples) for each in taken) >= _ENOUGH * SAMPLE_RATE:
            break
    return taken
