"""What a model is asked for."""

from __future__ import annotations

from typing import NamedTuple

from espnet_part.data.datadir import Example
from espnet_part.data.prompts import Wording


class Direction(NamedTuple):
    """A task, the language heard, and the language written; and what a user says of it.

    Attributes:
        lang: "" where it is to be detected.
        tgt: "" where it is the one that is to be detected.
        prompt: in place of the model's own.
        context: what the LLM is told beforehand, such as names that may be said.
        words: whether the times of words are wanted.
    """

    task: str
    lang: str
    tgt: str
    prompt: Wording | None = None
    context: str = ""
    words: bool = False

    @property
    def stratum(self) -> tuple[str, str, str]:
        """Task and languages, as training data have them."""
        return self.task, self.lang, self.tgt

    def hearing(self, lang: str) -> Direction:
        """The same, of speech in a language."""
        return self._replace(lang=lang, tgt=self.tgt or lang)

    def example(self, utt_id: str = "") -> Example:
        """What is decoded, without its audio."""
        return Example(utt_id, self.task, self.lang, self.tgt, "", audio="")
