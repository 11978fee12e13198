"""Whisper as a whole, as OpenAI made it: transcription, and translation into English, by transformers.

    python -m espnet_part.baseline.whisper --model openai/whisper-base --data_dir dump/raw/test \\
        --output_dir exp/whisper/decode_greedy/test

decodes what of a data directory Whisper can do, in windows of 30 s with the language given, and writes
ESPnet's files and a data directory of these utterances, by which part_score scores them.
"""

from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from espnet_part.command import HelpFormatter, command, count
from espnet_part.data.audio import read_audio
from espnet_part.data.chat import Tokens
from espnet_part.data.collate import Row
from espnet_part.data.datadir import DataDir, Example
from espnet_part.decode.halving import run_or_name
from espnet_part.decode.shard import decode_shard, select_examples
from espnet_part.decode.speech2text import Decoded, Hypothesis
from espnet_part.errors import DataError
from espnet_part.model.base import check_config, describe_base, find_weights
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.tasks import TASKS

#: The one language that Whisper translates into.
WRITES = "en"
WINDOW_SECONDS = 30


class Whisper:
    """Greedy decoding with a Whisper model of transformers.

    Args:
        name: hub name or directory, with the weights as safetensors and generation_config.json.
        device: as torch names it.
        batch_size: utterances at once.
    """

    def __init__(self, name: str, device: str = "cpu", batch_size: int = 8) -> None:
        import transformers

        check_config(name, None)
        find_weights(name, None)
        self.processor = transformers.WhisperProcessor.from_pretrained(name)
        whisper: Any = transformers.WhisperForConditionalGeneration
        model = whisper.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
        self.model = model.to(device).eval()
        self.device = device
        self.batch_size = batch_size

    def prepare(self, example: Example) -> Row:
        """Read one example.

        Raises:
            BadAudio: its audio cannot be used.
        """
        return Row(example, Tokens([], [], []), speech=read_audio(example))

    def decode_stream(self, rows: Iterable[Row]) -> Iterator[Decoded]:
        """Decode rows in batches; a row that fails is named."""
        rows = iter(rows)
        while batch := list(islice(rows, self.batch_size)):
            for row, found, reason in run_or_name(batch, self.decode_rows):
                yield Decoded(row, found or [], reason)

    @torch.inference_mode()
    def decode_rows(self, rows: Sequence[Row]) -> list[list[Hypothesis]]:
        """Decode; rows of one language and task go together, which changes nothing of their texts.

        Raises:
            DataError: a clip is longer than Whisper's window.
        """
        together: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            assert row.speech is not None
            if len(row.speech) > WINDOW_SECONDS * SAMPLE_RATE:
                raise DataError(f"longer than {WINDOW_SECONDS} s")
            example = row.example
            does = "transcribe" if TASKS[example.task].transcribes else "translate"
            together[example.lang, does].append(number)
        found: list[list[Hypothesis]] = [[] for _ in rows]
        for (language, task), numbers in together.items():
            features = self.processor(
                [rows[number].speech for number in numbers],
                sampling_rate=SAMPLE_RATE,
                return_tensors="pt",
                return_attention_mask=True,
            ).to(self.device)
            ids = self.model.generate(
                **features, language=language, task=task, do_sample=False, num_beams=1
            )
            texts = self.processor.batch_decode(ids, skip_special_tokens=True)
            for number, text in zip(numbers, texts, strict=True):
                found[number] = [Hypothesis(text.strip(), [], [], 0.0)]
        return found


def can_do(example: Example) -> bool:
    """Whether Whisper can do an example's task: speech, and the same language or English."""
    task = TASKS[example.task]
    return task.speech and not task.text and (task.transcribes or example.tgt == WRITES)


def get_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.baseline.whisper",
        description="Decodes a data directory with Whisper as a whole: transcription, and translation into "
        "English. Writes text and ESPnet's other files, and beside them a data directory `data` of the "
        "utterances that Whisper can do, for part_score --ref_dir. What is decoded already is kept.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="of the hub, or a directory")
    parser.add_argument("--data_dir", required=True, type=Path, metavar="DIR")
    parser.add_argument("--output_dir", required=True, type=Path, metavar="DIR")
    parser.add_argument("--batch_size", type=count, default=8, help="utterances at once")
    parser.add_argument("--num_threads", type=count, metavar="N", help="CPU threads")
    parser.add_argument("--ngpu", type=int, choices=(0, 1), default=0, help="1 for a GPU")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    examples, bad = select_examples(args.data_dir, None)
    examples = [example for example in examples if can_do(example)]
    if not examples:
        raise DataError(f"{args.data_dir}: no speech to be transcribed or translated into English")
    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    base = describe_base("whisper", args.model, None, None)
    DataDir.write(args.output_dir / "data", examples)
    decode_shard(
        examples,
        bad,
        args.output_dir / "logdir" / "output.1",
        lambda: Whisper(args.model, "cuda" if args.ngpu else "cpu", args.batch_size),
        {"model": args.model, "fingerprint": base.fingerprint, "beam_size": 1},
        max_bad_share=0.05,
    )


if __name__ == "__main__":
    main()
