"""What a model is asked for."""

from __future__ import annotations

from typing import NamedTuple

from espnet_part.data.datadir import Example


class Direction(NamedTuple):
    """A task, the language heard, and the language written.

    Attributes:
        lang: "" where it is to be detected.
        tgt: "" where it is the one that is to be detected.
    """

    task: str
    lang: str
    tgt: str

    def hearing(self, lang: str) -> Direction:
        """The same, of speech in a language."""
        return self._replace(lang=lang, tgt=self.tgt or lang)

    def example(self, utt_id: str = "") -> Example:
        """What is decoded, without its audio."""
        return Example(utt_id, self.task, self.lang, self.tgt, "", audio="")
