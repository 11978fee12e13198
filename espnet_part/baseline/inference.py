"""ESPnet's own ASR or ST inference, told which language to write.

PART is told the languages by its prompt. ESPnet's ``asr_inference`` and ``st_inference`` have no
option for that, and an ST model cannot guess whether English speech is to become German or Spanish.
This runs the stock command with one more scorer in its beam search, which admits one first token.

    python -m espnet_part.baseline.inference asr|st de OPTIONS…

decodes into German; OPTIONS are those of ``espnet2.bin.asr_inference`` or ``st_inference``. With
``any`` in place of a language, the model chooses the token itself; ``@FILE`` reads it from a file.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from espnet_part.baseline.directories import ESPNET_TASKS, language_token
from espnet_part.command import command
from espnet_part.errors import ConfigError
from espnet_part.inputs import read_text

if TYPE_CHECKING:
    import torch

ANY = "any"
_NEVER = -1.0e10  # of hypotheses that begin otherwise; finite, so that sums and differences are


class FirstToken:
    """A scorer of ESPnet's beam search: a hypothesis begins with the given token.

    It adds nothing after that, so hypotheses compare as if the token had been given.

    Args:
        token: number of the token.
        vocabulary: number of tokens.
    """

    def __init__(self, token: int, vocabulary: int) -> None:
        self.token, self.vocabulary = token, vocabulary

    def init_state(self, x: torch.Tensor) -> None:
        return None

    batch_init_state = init_state

    def select_state(self, state: None, i: int, new_id: int | None = None) -> None:
        return None

    def final_score(self, state: None) -> float:
        return 0.0

    def score(self, y: torch.Tensor, state: None, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Score the next token of the prefix ``y`` (length,): (vocabulary,)."""
        scores = x.new_zeros(self.vocabulary)
        if len(y) == 1:  # <sos> alone
            scores += _NEVER
            scores[self.token] = 0.0
        return scores, None

    def batch_score(
        self, ys: torch.Tensor, states: Sequence[None], xs: torch.Tensor
    ) -> tuple[torch.Tensor, list[None]]:
        """Score the next tokens of prefixes ``ys`` (batch, length): (batch, vocabulary)."""
        scores, _ = self.score(ys[0], None, xs)
        return scores.expand(len(ys), -1), [None] * len(ys)


def begin_with(search: Any, token: str) -> None:
    """Let a beam search (``espnet.nets.beam_search.BeamSearch``) begin with a token.

    Raises:
        ConfigError: the model does not have the token.
    """
    if token not in search.token_list:
        raise ConfigError(f"the model has no token {token}: no training text is in that language")
    scorer = FirstToken(search.token_list.index(token), search.n_vocab)
    search.scorers["language"] = search.full_scorers["language"] = scorer
    search.weights["language"] = 1.0


@command
def main(cmd: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if cmd is None else cmd)
    if len(words) < 2 or words[0] not in ESPNET_TASKS:
        print(__doc__)
        raise ConfigError("the first two arguments must be asr or st, and a language")
    task, language, options = words[0], words[1], words[2:]
    if language.startswith("@"):
        language = read_text(language[1:]).strip()
    stock: Any = importlib.import_module(f"espnet2.bin.{task}_inference")
    if language != ANY:

        class Told(stock.Speech2Text):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                begin_with(self.beam_search, language_token(language))

        stock.Speech2Text = Told  # what the stock command builds
    stock.main(options)


if __name__ == "__main__":
    main()
