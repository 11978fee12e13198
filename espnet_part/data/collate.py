"""From examples to padded batches for `espnet_part.model.speech_llm.SpeechLLM`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from espnet_part.data.audio import BadAudio, read_audio, read_matrix
from espnet_part.data.chat import ChatFormat, Tokens
from espnet_part.data.datadir import Example
from espnet_part.data.prompts import Prompts, Wording
from espnet_part.model.splice import IGNORE
from espnet_part.sample_rate import SAMPLE_RATE

Batch = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One example, ready to be padded.

    Attributes:
        example: what it was made from.
        tokens: token ids of prompt and answer.
        speech: (samples,) float32 at 16 kHz, or None.
        encoder_out: (frames, dim) float32 in place of ``speech``, or None.
        frames: encoder frames and LLM positions of the speech, for the count of padding.
    """

    example: Example
    tokens: Tokens
    speech: np.ndarray | None = None
    encoder_out: np.ndarray | None = None
    frames: tuple[int, int] = (0, 0)


def make_row(
    example: Example,
    prompts: Prompts,
    chat: ChatFormat,
    *,
    wording: int | Wording = 0,
    context: str = "",
    answer: bool = True,
    speech: np.ndarray | None = None,
    frames: tuple[int, int] = (0, 0),
) -> Row:
    """Read and tokenise one example.

    Args:
        example: the example.
        prompts, chat: how it is put to the LLM.
        wording, context: of the prompt, see `Prompts.render`.
        answer: whether its text is the answer (training) or left to be found (decoding).
        speech: (samples,) float32 at 16 kHz, where the audio is in memory already.
        frames: see `Row`.

    Raises:
        BadAudio: its audio or its features cannot be used.
    """
    prompt = prompts.render(example, wording, context)
    tokens = chat.encode(prompt, example.text if answer else None)
    if prompt.after is None:
        return Row(example, tokens)
    if speech is None and example.feats is not None:
        matrix = read_matrix(example.feats)
        if frames[0] > 0 and len(matrix) != frames[0]:
            raise BadAudio(
                f"{len(matrix)} frames of cached encoder output where utt2num_samples makes "
                f"{frames[0]}"
            )
        return Row(example, tokens, encoder_out=matrix, frames=frames)
    if speech is None:
        speech = read_audio(example)
        expected = example.num_samples
        if expected is not None and abs(len(speech) - expected) > max(160, expected // 100):
            raise BadAudio(f"{len(speech)} samples where utt2num_samples says {expected}")
    return Row(example, tokens, speech=speech, frames=frames)


def collate(rows: Sequence[Row], pad_token_id: int, bad: Sequence[tuple[str, str]] = ()) -> Batch:
    """Pad rows to a batch.

    Args:
        rows: the rows; with none, the batch is one row of one token without a label, so that a
            process whose examples were all bad still takes part in the step.
        pad_token_id: fills ``input_ids`` beyond ``input_lengths``.
        bad: (utterance, reason) of what could not be read; handed through.

    Returns:
        Tensors: ``input_ids`` (B, L) int64, ``input_lengths`` (B,), ``labels`` (B, L), and with
        S > 0 clips ``speech_row`` (S,), ``speech_position`` (S,), and either ``speech`` (S, T)
        float32 with ``speech_lengths`` (S,) in samples or ``encoder_out`` (S, F, dim) with
        ``encoder_out_lengths`` (S,), and the list ``transcripts`` of what is said in each of them,
        where that is known. Python values: ``utt_ids``, ``tasks``, ``langs``, ``tgts``
        (lists of B strings; empty for the row without an example), ``bad``, ``audio_seconds``
        and ``padding`` ({"llm", "llm_padded", "encoder", "encoder_padded"}: real and padded
        positions and frames).
    """
    tokens = [row.tokens for row in rows] or [Tokens([pad_token_id], [], [])]
    lengths = [len(t.prefix_ids) + len(t.suffix_ids) + len(t.answer_ids) for t in tokens]
    input_ids = torch.full((len(tokens), max(lengths)), pad_token_id, dtype=torch.long)
    labels = torch.full_like(input_ids, IGNORE)
    for number, (t, length) in enumerate(zip(tokens, lengths, strict=True)):
        ids = torch.tensor(t.prefix_ids + t.suffix_ids + t.answer_ids, dtype=torch.long)
        input_ids[number, :length] = ids
        answer = length - len(t.answer_ids)
        labels[number, answer:length] = ids[answer:]
    clips = [n for n, row in enumerate(rows) if _has_speech(row)]
    batch: Batch = {
        "input_ids": input_ids,
        "input_lengths": torch.tensor(lengths),
        "labels": labels,
        "utt_ids": [row.example.utt_id for row in rows],
        "tasks": [row.example.task for row in rows],
        "langs": [row.example.lang for row in rows],
        "tgts": [row.example.tgt for row in rows],
        "bad": list(bad),
        "audio_seconds": sum(_seconds(row) for row in rows),
        "padding": _padding(rows, lengths),
    }
    if clips:
        batch["speech_row"] = torch.tensor(clips)
        batch["speech_position"] = torch.tensor([len(rows[n].tokens.prefix_ids) for n in clips])
        batch.update(_pad_speech([rows[n] for n in clips]))
        batch["transcripts"] = [rows[n].example.transcript for n in clips]
    return batch


def _pad_speech(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    cached = [row.encoder_out for row in rows if row.encoder_out is not None]
    if cached:
        if len(cached) < len(rows) or len({matrix.shape[1] for matrix in cached}) > 1:
            raise ValueError("cached encoder output of some clips only, or of several encoders")
        name, arrays = "encoder_out", cached
    else:
        name, arrays = "speech", [row.speech for row in rows if row.speech is not None]
    lengths = torch.tensor([len(array) for array in arrays])
    padded = torch.zeros(len(arrays), int(lengths.max()), *arrays[0].shape[1:])
    for number, array in enumerate(arrays):
        padded[number, : len(array)] = torch.from_numpy(array)
    return {name: padded, f"{name}_lengths": lengths}


def _has_speech(row: Row) -> bool:
    return row.speech is not None or row.encoder_out is not None


def _seconds(row: Row) -> float:
    if row.speech is not None:
        return len(row.speech) / SAMPLE_RATE
    if row.encoder_out is not None:
        return (row.example.num_samples or 0) / SAMPLE_RATE
    return 0.0


def _padding(rows: Sequence[Row], lengths: Sequence[int]) -> dict[str, int]:
    if not rows:
        return {"llm": 0, "llm_padded": 0, "encoder": 0, "encoder_padded": 0}
    llm = [length + row.frames[1] for length, row in zip(lengths, rows, strict=True)]
    encoder = [row.frames[0] for row in rows if _has_speech(row)]
    return {
        "llm": sum(llm),
        "llm_padded": len(llm) * max(llm),
        "encoder": sum(encoder),
        "encoder_padded": len(encoder) * max(encoder, default=0),
    }
