"""When each word of a text is said, for models whose adapter hears by CTC.

The text is laid over the clip by CTC's forced alignment (Kürzinger et al. 2020, "CTC-segmentation of large
corpora"; here torchaudio's `forced_align`), so it may be the LLM's, the adapter's own, or a transcript.
CTC hears a character in a frame or two: a word begins with the first of its characters and ends with
the last one. `tools/bench/word_times.md` has what that amounts to.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from espnet_part.errors import ConfigError
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.scripts import runs_together
from espnet_part.tasks import TASKS

Span = tuple[float, float]

if TYPE_CHECKING:
    from espnet_part.decode.speech2text import Speech2Text


class Word(NamedTuple):
    """A word as it is written, and when it is said: seconds from the clip's beginning."""

    word: str
    start: float
    end: float

    def later(self, seconds: float) -> Word:
        """The same in a recording in which the clip begins after so many seconds."""
        return Word(self.word, self.start + seconds, self.end + seconds)

    def to_dict(self) -> dict[str, Any]:
        return {"word": self.word, "start": round(self.start, 4), "end": round(self.end, 4)}


def check_spoken(task: str) -> None:
    """Raise a ConfigError for a task that does not write what is said."""
    if not TASKS[task].transcribes:
        raise ConfigError(f"times of words: those that the task {task} writes are not spoken")


def check_hears(model: Speech2Text) -> None:
    """Raise a ConfigError for a model whose adapter has no CTC."""
    if not hasattr(model.model.adapter, "heard_at"):
        raise ConfigError(
            "times of words need an adapter that hears by CTC (ctc_spelling, ctc_compression), and this "
            "model's does not"
        )


def word_times(model: Speech2Text, speech: np.ndarray, text: str) -> list[Word]:
    """The words of ``text`` as they are heard in a clip; of scripts without spaces, the characters.

    Args:
        model: one that hears (`check_hears`).
        speech: (samples,) 16 kHz.
        text: what is said in it.

    Returns:
        All words in their order. One of which nothing is spelled (a number in digits, say) lies between
        its neighbours; all lie evenly where the clip is too short for the text.
    """
    words = [c for c in text if not c.isspace()] if runs_together([text]) else text.split()
    if not words:
        return []
    import torch

    with model._running():
        samples = torch.as_tensor(speech, dtype=torch.float32, device=model.device)[None]
        length = torch.tensor([len(speech)], device=model.device)
        states, length = model.model.encoder(samples, length)
        found = model.model.adapter.heard_at(states, length, words)
    seconds = len(speech) / SAMPLE_RATE
    return [
        Word(word, seconds * start, seconds * end)
        for word, (start, end) in zip(words, _all_of(found), strict=True)
    ]


def _all_of(spans: Sequence[Span | None]) -> list[Span]:
    """Those that are not known share what lies between their neighbours."""
    known: list[Span] = [(0.0, 0.0), *(span for span in spans if span is not None), (1.0, 1.0)]
    filled: list[Span] = []
    before = 0  # the last one that is known
    for unknown, run in itertools.groupby(spans, lambda span: span is None):
        count = len(list(run))
        if unknown:
            edges = np.linspace(known[before][1], known[before + 1][0], count + 1).tolist()
            filled += itertools.pairwise(edges)
        else:
            filled += known[before + 1 : before + 1 + count]
            before += count
    return filled
