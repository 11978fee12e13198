"""A few test utterances to hear and to read, with what every system made of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_part import display
from espnet_part.data.audio import BadAudio
from espnet_part.document import Bullets, Paragraph
from espnet_part.errors import UserError
from espnet_part.report.page.parts import LEGEND, Part
from espnet_part.report.page.player import Audio, find_audio, load_player
from espnet_part.report.page.scored_set import ScoredSet, texts_of
from espnet_part.score.references import GroupKey
from espnet_part.tasks import TASKS

MOST = 8
"""Utterances that are shown."""
MOST_BYTES = 3_000_000
"""Of all players together, as the page holds them."""
MOST_SYSTEMS = 16
"""Outputs beside one utterance."""

Chosen = tuple[ScoredSet, GroupKey, str]


def example_parts(sets: Sequence[ScoredSet], data: Mapping[str, Sequence[Path]]) -> list[Part]:
    """Utterances of every task and language in turn, whatever their scores.

    Args:
        data: directories of the test sets by name, the formatted one last.
    """
    chosen = choose(sets, MOST)
    players = _Players(data, chosen)
    texts = texts_of((test_set, name) for test_set, _, name in chosen)
    parts: list[Part] = [
        Paragraph(
            "Chosen by their place in the test set, not by their scores. Recognition is shown as it is "
            "scored, that is normalised; translations as they were written. "
            f"{LEGEND}"
        )
    ]
    for test_set, key, name in chosen:
        said = texts.get((test_set, name), "")
        player, silent = "", ""
        if TASKS[key[0]].speech:
            player, silent = players.of(test_set, name)
        shown = list(test_set.hypotheses)[:MOST_SYSTEMS]
        parts.append(test_set.utterance(key, name, shown, said, player, silent))
    if any(len(test_set.hypotheses) > MOST_SYSTEMS for test_set in sets):
        parts.append(Paragraph(f"Of more than {MOST_SYSTEMS} systems the first ones are shown."))
    notes = [note for test_set in sets for note in test_set.notes]
    return [*parts, Bullets([display.sentence(note) for note in notes])] if notes else parts


def choose(sets: Sequence[ScoredSet], most: int) -> list[Chosen]:
    """One utterance of each group in turn, at most ``most``, each at another place of its group."""
    groups = [
        (test_set, key, names)
        for test_set in sets
        for key, names in test_set.references.groups.items()
    ]
    chosen: list[Chosen] = []
    for turn in range(most):
        for number, (test_set, key, names) in enumerate(groups):
            # 1/2, 1/4, 3/4, 1/8, …: sets whose languages say the same would show one sentence only
            place = _van_der_corput(turn * len(groups) + number + 1)
            name = names[int(place * len(names))]
            if len(chosen) < most and (test_set, key, name) not in chosen:
                chosen.append((test_set, key, name))
    return chosen


def _van_der_corput(number: int) -> float:
    """The binary digits of a number mirrored at the point."""
    value, scale = 0.0, 0.5
    while number:
        value, number, scale = value + scale * (number % 2), number // 2, scale / 2
    return value


class _Players:
    """Players within the bytes that a page may have."""

    def __init__(self, data: Mapping[str, Sequence[Path]], chosen: Sequence[Chosen]) -> None:
        self.data, self.chosen = data, chosen
        self.left = MOST_BYTES
        self.found: dict[Path, dict[str, Audio]] = {}

    def of(self, test_set: ScoredSet, name: str) -> tuple[str, str]:
        """The data URI, or why there is none."""
        why = "its wav.scp is not there"
        for directory in reversed([test_set.directory, *self.data.get(test_set.name, [])]):
            if not (directory / "wav.scp").is_file():
                continue
            try:
                if directory not in self.found:
                    names = {name for _, _, name in self.chosen}
                    self.found[directory] = find_audio(directory, names)
                found = self.found[directory].get(name)
                if found is None:
                    raise BadAudio(f"not in {directory / 'wav.scp'}")
                player = load_player(found, test_set.beneath)
            except (BadAudio, UserError, OSError, ValueError) as error:
                logging.warning("%s: not in the report: %s", name, error)
                why = str(error)
                continue
            if len(player) > self.left:
                return "", "the page has enough audio"
            self.left -= len(player)
            return player, ""
        return "", f"no audio: {why}"
