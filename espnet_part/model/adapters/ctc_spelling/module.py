"""An adapter that hears by CTC (Graves et al. 2006) and speaks to the LLM in the LLM's own tokens.

The layers of the paper's adapter spell the clip in characters. What they spell is cut into the LLM's
tokens; for each the LLM reads the token's embedding, plus a projection of the states that the token was
heard in. So a frozen LLM reads from the first step on what it has always read, and what the spelling gets
wrong can still be seen in the states. The characters learn from the clips' transcripts.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from espnet_part.errors import ConfigError
from espnet_part.model.adapters.ctc_spelling.conf import CTCConf, CTCSpellingConf
from espnet_part.model.adapters.transformer_cnn.module import TransformerCNNAdapter

BLANK = 0


class Token(NamedTuple):
    """A token of the LLM, and the frames [start, end) in which it was heard."""

    id: int
    start: int
    end: int


NOTHING = Token(0, 0, 0)

Span = tuple[float, float]


class CTCAdapter(TransformerCNNAdapter):
    """The layers of the paper's adapter with a CTC over characters, which learns from transcripts.

    Args:
        conf: its sizes. encoder_dim: width of the encoder's states. llm_dim: of the embeddings.
    """

    own_loss = True

    def __init__(self, conf: CTCConf, encoder_dim: int, llm_dim: int) -> None:
        super().__init__(conf, encoder_dim, llm_dim)
        self.characters = conf.characters
        self.ctc_weight = conf.ctc_weight
        self.spelling = nn.Linear(conf.dim, len(conf.characters) + 1)

    def forward(  # type: ignore[override]
        self, x: Tensor, lengths: Tensor, transcripts: Sequence[str | None] | None = None
    ) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]:
        """Map encoder states to LLM embeddings.

        Args:
            x: (S, T, encoder_dim). lengths: (S,) in states.
            transcripts: what is said in each clip; None where that is not known.

        Returns:
            (S, T', llm_dim), zero behind each length, and lengths (S,); with ``transcripts`` also the
            weighted CTC loss (S,), zero where the transcript is not known or longer than the clip.
        """
        states, frames, log_probs = self._hear(x, lengths)
        read, read_lengths = self._embed(states, frames, log_probs)
        if transcripts is None:
            return read, read_lengths
        return read, read_lengths, self.ctc_weight * self._loss(log_probs, frames, transcripts)

    def _embed(self, states: Tensor, frames: Tensor, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings of what was heard, and their lengths."""
        raise NotImplementedError

    def second_opinion(
        self, x: Tensor, lengths: Tensor, texts: Sequence[str]
    ) -> tuple[list[str], list[float], list[float]]:
        """What it hears by itself, beside what the LLM has written.

        Args:
            x, lengths: as in `forward`. texts: what the LLM has written for each clip.

        Returns:
            The spelling of each clip; its log probability; and by how many nats a character of it the
            text is less likely by CTC: infinite where it has more characters than the clip has frames.
        """
        _, frames, log_probs = self._hear(x, lengths)
        own = [_collapse(path, self.characters)[0] for (path,) in _paths(log_probs, frames, 1)]
        spelled = [self.spell(text) for text in own]
        mine = self._ctc(log_probs, frames, spelled, zero_infinity=False)
        theirs = self._ctc(log_probs, frames, [self.spell(t) for t in texts], zero_infinity=False)
        characters = torch.tensor([max(1, len(units)) for units in spelled], device=mine.device)
        return own, (-mine).tolist(), ((theirs - mine) / characters).tolist()

    def heard_at(self, x: Tensor, length: Tensor, parts: Sequence[str]) -> list[Span | None]:
        """Where in a clip the parts of what is said in it are heard, by CTC's forced alignment.

        Args:
            x: (1, T, encoder_dim). length: (1,) in states.
            parts: in their order; words, say.

        Returns:
            The begin and the end of each, as shares of the clip; None for a part of which nothing is
            spelled, and for all where they are longer than the clip.
        """
        _, frames, log_probs = self._hear(x, length)
        units: list[int] = []
        places: list[slice] = []
        for spelled in map(self.spell, parts):
            if units and spelled:
                units.append(self.characters.index(" ") + 1)
            places.append(slice(len(units), len(units) + len(spelled)))
            units += spelled
        found = _align(log_probs[0, : int(frames[0])], units)
        spans = [found[place] for place in places]
        share = self.downsample / int(length[0])
        return [
            (span[0][0] * share, min(1.0, span[-1][1] * share)) if span else None for span in spans
        ]

    def _hear(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The states, the frames of each clip, and the log probabilities of their units."""
        states, frames = self.states(x, lengths)
        return states, frames, self.spelling(states).float().log_softmax(dim=-1)

    def spell(self, text: str) -> list[int]:
        """A transcript in the CTC's units; signs that it has not are spaces, letters left out."""
        lower = unicodedata.normalize("NFC", text.lower())
        known = "".join(c if c in self.characters else "" if c.isalnum() else " " for c in lower)
        return [self.characters.index(c) + 1 for c in " ".join(known.split())]

    def _loss(self, log_probs: Tensor, frames: Tensor, transcripts: Sequence[str | None]) -> Tensor:
        spelled = [self.spell(text or "") for text in transcripts]
        known = [text is not None for text in transcripts]
        losses = self._ctc(log_probs, frames, spelled, zero_infinity=True)
        return losses * torch.tensor(known, device=losses.device)

    @staticmethod
    def _ctc(
        log_probs: Tensor, frames: Tensor, spelled: Sequence[Sequence[int]], zero_infinity: bool
    ) -> Tensor:
        """(S,) negative log probabilities of the units of each clip."""
        targets = torch.tensor([unit for units in spelled for unit in units], dtype=torch.long)
        lengths = torch.tensor([len(units) for units in spelled])
        return F.ctc_loss(
            log_probs.transpose(0, 1),
            targets.to(log_probs.device),
            frames,
            lengths.to(log_probs.device),
            BLANK,
            reduction="none",
            zero_infinity=zero_infinity,
        )


class CTCSpellingAdapter(CTCAdapter):
    """See the module.

    Args:
        conf: its sizes. encoder_dim: width of the encoder's states. llm_dim: of the embeddings.
    """

    def __init__(self, conf: CTCSpellingConf, encoder_dim: int, llm_dim: int) -> None:
        super().__init__(conf, encoder_dim, llm_dim)
        self.noise = conf.noise
        self._llm: tuple[nn.Module, Any] | None = None  # no module of this one: it is the LLM's

    def match_scale(self, std: float) -> None:
        """Let the output start as the tokens' embeddings alone, whose scale is right."""
        nn.init.zeros_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def read_llm(self, embedding: nn.Module, tokenizer: Any) -> None:
        """Take the LLM's table of embeddings and its tokenizer.

        Raises:
            ConfigError: a tokenizer that does not say where its tokens stand in the text.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(
                "speech_adapter: ctc_spelling: needs a tokenizer of the library tokenizers (tokenizer.json)"
            )
        self._llm = (embedding, tokenizer)

    def _embed(self, states: Tensor, frames: Tensor, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        choices = 2 if self.training and self.noise else 1
        return self._read(states, [self._tokens(*p) for p in _paths(log_probs, frames, choices)])

    def _tokens(self, path: Sequence[int], second: Sequence[int] | None = None) -> list[Token]:
        """The LLM's tokens of a clip, from the likeliest unit of each frame; with noise where the next
        likeliest are given."""
        assert self._llm is not None, "read_llm comes first"
        text, spans = _collapse(path, self.characters)
        if second is not None:
            text, spans = _mishear(text, spans, second, self.noise, self.characters)
        if not text:
            return []
        encoded = self._llm[1](text, add_special_tokens=False, return_offsets_mapping=True)
        tokens = []
        for number, (begin, end) in zip(
            encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            # a token of one byte of a character may have no width
            first, last = spans[min(begin, len(spans) - 1)], spans[max(begin, end - 1)]
            tokens.append(Token(number, first[0], last[1]))
        return tokens

    def _read(self, states: Tensor, heard: Sequence[Sequence[Token]]) -> tuple[Tensor, Tensor]:
        """Embeddings of tokens with their states; a clip in which nothing was heard has one zero."""
        assert self._llm is not None
        clips = [torch.tensor(tokens or [NOTHING]) for tokens in heard]
        padded = pad_sequence(clips, batch_first=True, padding_value=0).to(states.device)
        ids, starts, ends = padded.unbind(dim=-1)
        there = ends > 0
        sums = F.pad(states.float().cumsum(dim=1), (0, 0, 1, 0))
        rows = torch.arange(len(heard), device=states.device)[:, None]
        means = (sums[rows, ends] - sums[rows, starts]) / (ends - starts).clamp(min=1)[..., None]
        read = self._llm[0](ids) + self.projection(means.to(states.dtype))
        read = torch.where(there[..., None], read, torch.zeros_like(read))
        return read, torch.tensor([len(clip) for clip in clips], device=states.device)


def _align(log_probs: Tensor, units: Sequence[int]) -> list[tuple[int, int]]:
    """The frames [start, end) of each unit on the likeliest path that spells them; none if they do not fit.

    Args:
        log_probs: (T, units).
    """
    repeats = sum(one == other for one, other in itertools.pairwise(units))
    if not units or len(units) + repeats > len(log_probs):
        return []
    from torchaudio.functional import forced_align, merge_tokens

    path, scores = forced_align(log_probs[None], torch.tensor([units]), blank=BLANK)
    return [(span.start, span.end) for span in merge_tokens(path[0], scores[0], BLANK)]


def _paths(log_probs: Tensor, frames: Tensor, choices: int) -> list[list[list[int]]]:
    """The likeliest units of each frame, as so many paths a clip, the best first."""
    paths = log_probs.topk(choices, dim=-1).indices.transpose(1, 2).tolist()
    return [
        [path[:length] for path in clip]
        for clip, length in zip(paths, frames.tolist(), strict=True)
    ]


def _collapse(path: Sequence[int], characters: str) -> tuple[str, list[tuple[int, int]]]:
    """The text of a path, single-spaced, and the frames [start, end) of each character."""
    text: list[str] = []
    spans: list[tuple[int, int]] = []
    previous = BLANK
    for frame, unit in enumerate(path):
        character = characters[unit - 1] if unit != BLANK else ""
        if unit != BLANK and unit == previous:
            spans[-1:] = [(spans[-1][0], frame + 1)] if spans else []
        elif character and (character != " " or (text and text[-1] != " ")):
            text.append(character)
            spans.append((frame, frame + 1))
        previous = unit
    if text and text[-1] == " ":
        text.pop()
        spans.pop()
    return "".join(text), spans


def _mishear(
    text: str,
    spans: Sequence[tuple[int, int]],
    second: Sequence[int],
    noise: float,
    characters: str,
) -> tuple[str, list[tuple[int, int]]]:
    """Drop, double or mishear a share ``noise`` of the characters; each keeps its frames.

    What is misheard becomes the ``second`` choice of its first frame, which is how the CTC goes wrong
    where it does: another vowel, or nothing.
    """
    kinds = (torch.rand(len(text)) / noise * 4).long().tolist()
    written: list[tuple[str, tuple[int, int]]] = []
    for character, span, kind in zip(text, spans, kinds, strict=True):
        other = second[span[0]]
        misheard = "" if other == BLANK else characters[other - 1]
        changed = {0: "", 1: character * 2, 2: misheard, 3: misheard}.get(kind, character)
        written += [(c, span) for c in changed]
    return "".join(c for c, _ in written), [span for _, span in written]


def build(conf: CTCSpellingConf, encoder_dim: int, llm_dim: int) -> CTCSpellingAdapter:
    """See `espnet_part.model.kinds.AdapterModulePart`."""
    return CTCSpellingAdapter(conf, encoder_dim, llm_dim)
