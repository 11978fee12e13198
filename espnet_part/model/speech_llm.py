"""The multilingual speech LLM: encoder -> adapter -> splice -> LLM (PART, Section 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from espnet_part.model.llm import LLM
from espnet_part.model.loss import labelled_loss
from espnet_part.model.splice import IGNORE, Spliced, splice

SILENCE = 8000  # samples; longer than any encoder's receptive field at its first output


class SpeechLLMOutput(NamedTuple):
    """What the trainer needs of a batch.

    Attributes:
        loss: float32 scalar with a graph, summed over the labelled tokens.
        row_loss, row_tokens, row_correct: (B,), detached: summed loss, labelled tokens, and those
            of them that were the likeliest (NaN where the LLM was not run).
    """

    loss: Tensor
    row_loss: Tensor
    row_tokens: Tensor
    row_correct: Tensor


class SpeechLLM(AbsESPnetModel):
    """A speech encoder, an adapter and an LLM; all parameters start frozen.

    Args:
        encoder: see `espnet_part.model.kinds.Encoder`. adapter: see `espnet_part.model.kinds.Adapter`.
        llm: the language model.

    Attributes:
        function: digests of what it computes beside its weights (see `model.function`).
        answers: whether training learns the answers (PART's one loss); else an adapter's own loss
            alone (`espnet_part.model.kinds.TranscribingAdapter`), without running the LLM.
        in_step: whether every batch runs encoder and adapter, with speech or without: processes that
            gather their weights from one another must ask for the same ones in the same order.
    """

    def __init__(self, encoder: Any, adapter: Any, llm: LLM) -> None:
        super().__init__()
        self.encoder = encoder
        self.adapter = adapter
        self.llm = llm
        self.function: dict[str, str] = {}
        self.answers = True
        self.in_step = False
        self.requires_grad_(False)

    def forward(self, *, labels: Tensor, **batch: Any) -> SpeechLLMOutput:
        """Loss of a batch.

        Args:
            labels: (B, L), aligned with ``input_ids``, -100 where there is no loss.
            batch: see `read`; other keys are ignored.
        """
        prompt, besides = self.read(labels=labels, **batch)
        if self.training and not self.answers:
            return self._besides_alone(besides, prompt, labels, batch.get("speech_row"))
        hidden = self.llm.hidden(prompt.embeddings, prompt.mask, prompt.positions)
        loss, *by_row = labelled_loss(hidden, prompt.labels, self.llm.logits)
        return SpeechLLMOutput(loss + besides.sum(), *by_row)

    def read(
        self,
        *,
        input_ids: Tensor,
        input_lengths: Tensor,
        labels: Tensor,
        speech_row: Tensor | None = None,
        speech_position: Tensor | None = None,
        speech: Tensor | None = None,
        speech_lengths: Tensor | None = None,
        encoder_out: Tensor | None = None,
        encoder_out_lengths: Tensor | None = None,
        transcripts: Sequence[str | None] | None = None,
        **_: Any,
    ) -> tuple[Spliced, Tensor]:
        """Put tokens and speech together.

        Args:
            input_ids: (B, L) right-padded. input_lengths: (B,). labels: (B, L).
            speech_row: (S,) the row of clip s. speech_position: (S,) the token before which it is
                inserted.
            speech: (S, samples) 16 kHz waveforms. speech_lengths: (S,) in samples.
            encoder_out: (S, states, dim), instead of ``speech``: states kept from an earlier run of
                the same encoder. encoder_out_lengths: (S,).
            transcripts: what is said in each clip, for an adapter that learns from it.

        Returns:
            What the LLM reads, and what is to be added to the loss, by clip: that of an adapter that
            has one of its own; else zeros. In a batch without speech a zero ties the trainable
            parameters of encoder and adapter to what the LLM reads: under data parallelism every
            process must give every parameter a gradient, in the same order.
        """
        tokens = self.llm.embedding(input_ids)
        if encoder_out is None and speech is not None and len(speech) > 0:
            encoder_out, encoder_out_lengths = self.encoder(speech, speech_lengths)
        elif encoder_out is not None and self.in_step:
            self._encode_silence(tokens)  # another process may have text alone, and does the same
        if encoder_out is None or len(encoder_out) == 0:
            spliced = splice(tokens + self._unused(tokens), input_lengths, labels)
            return spliced, torch.zeros(0, device=tokens.device)
        adapted, lengths, besides = self._adapt(encoder_out, encoder_out_lengths, transcripts)
        adapted = adapted.to(tokens.dtype)
        return splice(
            tokens, input_lengths, labels, adapted, lengths, speech_row, speech_position
        ), besides

    def _adapt(
        self, states: Tensor, lengths: Tensor | None, transcripts: Sequence[str | None] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings, their lengths, and the adapter's own loss by clip, or zeros."""
        if transcripts is not None and getattr(self.adapter, "own_loss", False):
            return self.adapter(states, lengths, transcripts)
        return *self.adapter(states, lengths), states.new_zeros(len(states))

    def _unused(self, tokens: Tensor) -> Tensor:
        """Zero, through the encoder and adapter where they have trainable parameters."""
        modules = (self.encoder, self.adapter)
        trains = torch.is_grad_enabled() and any(
            p.requires_grad for module in modules for p in module.parameters()
        )
        if not trains and not self.in_step:
            return tokens.new_zeros(())
        with _running_statistics_kept(self):
            adapted, _, besides = self._adapt(*self._encode_silence(tokens), [""])
            return (adapted.float().sum() + besides.sum()) * 0.0

    def _encode_silence(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        samples = torch.full((1,), SILENCE, device=tokens.device)
        return self.encoder(tokens.new_zeros(1, SILENCE).float(), samples)

    def _besides_alone(
        self, besides: Tensor, prompt: Spliced, labels: Tensor, speech_row: Tensor | None
    ) -> SpeechLLMOutput:
        """The output where the adapter's own loss is all that is learnt."""
        by_row = besides.new_zeros(len(labels))
        if speech_row is not None:
            by_row = by_row.index_add(0, speech_row, besides.detach())
        tokens = (labels != IGNORE).sum(dim=1).to(by_row.dtype)
        # what only the LLM reads gets a gradient as well, of zero: see `read`
        loss = besides.sum() + prompt.embeddings.float().sum() * 0.0
        nothing_answered = torch.full_like(by_row, torch.nan)
        return SpeechLLMOutput(loss, by_row, tokens, nothing_answered)

    def prompts(self, **batch: Any) -> list[Tensor]:
        """What the LLM reads before it answers: (T, dim) embeddings of each row.

        Args:
            batch: as in `read`, the rows ending where the answer begins.
        """
        batch |= {"labels": torch.full_like(batch["input_ids"], IGNORE), "transcripts": None}
        spliced = self.read(**batch)[0]
        lengths = spliced.lengths.tolist()
        return [row[:length] for row, length in zip(spliced.embeddings, lengths, strict=True)]

    def encode(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with the encoder's states in place of the speech, for more than one reading of it."""
        speech, lengths = batch.get("speech"), batch.get("speech_lengths")
        if speech is None or len(speech) == 0:
            return batch
        states, state_lengths = self.encoder(speech, lengths)
        rest = {key: batch[key] for key in batch.keys() - {"speech", "speech_lengths"}}
        return rest | {"encoder_out": states, "encoder_out_lengths": state_lengths}

    @property
    def shards(self) -> list[nn.Module]:
        """What is gathered at once where weights are sharded: the parts of the model and their
        blocks, each before those within it."""
        blocks = self.encoder.layers if getattr(self.encoder, "layers_run_once", False) else ()
        return [self.encoder, *blocks, self.adapter, *self.llm.layers]

    @property
    def protected(self) -> tuple[str, ...]:
        """Prefixes of parameters that never train unless a selector names them outright: the
        encoder's own, and the LLM's base weights."""
        return (*(f"encoder.{name}" for name in self.encoder.protected), "llm")

    @property
    def end_token_ids(self) -> list[int]:
        """Decoding stops at any of these tokens."""
        return self.llm.end_token_ids

    def base_models(self) -> list[dict[str, Any]]:
        """What a checkpoint of this model builds upon (see `espnet_part.model.base.BaseModel`)."""
        bases = (self.encoder.base, self.llm.base)
        return [asdict(base) for base in bases if base is not None]

    def collect_feats(
        self, *, speech: Tensor, speech_lengths: Tensor, **_: Any
    ) -> dict[str, Tensor]:
        """The encoder's states, ESPnet's "features"."""
        feats, lengths = self.encoder(speech, speech_lengths)
        return {"feats": feats, "feats_lengths": lengths}


@contextmanager
def _running_statistics_kept(model: nn.Module) -> Iterator[None]:
    """Batch normalisation does not learn from what passes in this block."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True
