"""Signs of hallucination: outputs that go round in circles or are far too long.

Speech LLMs write fluent text that nobody said, most often by repeating a phrase or by going on
after the speech has ended. A few such outputs can make up most of an error rate, so they are
counted and named.
"""

from __future__ import annotations

from collections.abc import Sequence

from espnet_part.score.error_rate import Unit
from espnet_part.score.score_config import HallucinationConfig

REPEATED = "repeated"
LONGER_THAN_SPEECH = "longer_than_speech"
LONGER_THAN_REFERENCE = "longer_than_reference"
SIGNS = (REPEATED, LONGER_THAN_SPEECH, LONGER_THAN_REFERENCE)


def find_signs(
    reference: Sequence[str],
    hypothesis: Sequence[str],
    unit: Unit,
    seconds: float | None,
    config: HallucinationConfig,
) -> list[str]:
    """Which of `SIGNS` an output shows.

    Args:
        reference, hypothesis: words or characters, as ``unit`` says.
        seconds: of audio; None where unknown, and then the speech is not looked at.
    """
    signs = []
    repeats = most_repeats(hypothesis, config.longest_ngram, config.repeats)
    if repeats >= config.repeats and repeats > most_repeats(reference, config.longest_ngram, 2):
        signs.append(REPEATED)
    too_many = len(hypothesis) - config.extra_units
    pace = config.words_per_second if unit == "word" else config.characters_per_second
    if seconds is not None and too_many > pace * seconds:
        signs.append(LONGER_THAN_SPEECH)
    if too_many > config.length_ratio * len(reference):
        signs.append(LONGER_THAN_REFERENCE)
    return signs


def most_repeats(units: Sequence[str], longest: int, interesting: int = 2) -> int:
    """How often some n-gram of at most ``longest`` units stands in a row; at least 1.

    Counts below ``interesting`` may be told as 1, which is quicker.
    """
    # so many repeats of n units leave at least n * (repeats - 1) units that were there before
    spare = len(units) - len(set(units))
    best = 1
    for n in range(1, longest + 1):
        if spare < n * (max(best, interesting - 1)):
            break
        run = 0  # units in a row that equal the one n before
        for position in range(n, len(units)):
            run = run + 1 if units[position] == units[position - n] else 0
            best = max(best, run // n + 1)
    return best
