"""Telling ESPnet's beam search which token comes first, in its batched and its plain form."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from espnet_part.baseline.inference import begin_with, main
from espnet_part.errors import ConfigError

try:  # where ESPnet 202609 and later have it
    from espnet2.legacy.nets.batch_beam_search import BatchBeamSearch
    from espnet2.legacy.nets.beam_search import BeamSearch
    from espnet2.legacy.nets.scorer_interface import BatchScorerInterface
except ModuleNotFoundError:
    from espnet.nets.batch_beam_search import BatchBeamSearch
    from espnet.nets.beam_search import BeamSearch
    from espnet.nets.scorer_interface import BatchScorerInterface

TOKENS = ["<blank>", "<unk>", "<de>", "<en>", "a", "b", "<sos/eos>"]
DE, EN, A, B, EOS = 2, 3, 4, 5, 6


class Model(BatchScorerInterface):
    """Sure of English; German begins with b, anything else with a; then it ends."""

    def score(self, y: torch.Tensor, state: Any, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
        logits = torch.zeros(len(TOKENS))
        if len(y) == 1:
            logits[EN], logits[DE] = 40.0, -40.0
        elif len(y) == 2:
            logits[B if y[1] == DE else A] = 9.0
        else:
            logits[EOS] = 9.0
        return logits.log_softmax(-1), None


def search(kind: type[BeamSearch], language: str | None) -> list[int]:
    beam = kind(
        scorers={"decoder": Model()}, weights={"decoder": 1.0}, beam_size=3,
        vocab_size=len(TOKENS), sos=EOS, eos=EOS, token_list=TOKENS, pre_beam_score_key="full",
    )  # fmt: skip
    if language is not None:
        begin_with(beam, f"<{language}>")
    return beam(torch.zeros(8, 4))[0].yseq.tolist()


@pytest.mark.parametrize("kind", [BeamSearch, BatchBeamSearch])
def test_the_language_asked_for_is_written(kind: type[BeamSearch]) -> None:
    assert search(kind, None) == [EOS, EN, A, EOS]
    assert search(kind, "en") == [EOS, EN, A, EOS]
    # however unlikely the model thinks it
    assert search(kind, "de") == [EOS, DE, B, EOS]


def test_a_language_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="no token <fr>"):
        search(BatchBeamSearch, "fr")


@pytest.mark.parametrize("words", [[], ["asr"], ["mt", "de"]])
def test_wrong_calls_are_explained(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert "must be asr or st" in capsys.readouterr().err
