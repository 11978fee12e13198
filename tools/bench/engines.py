"""What decoding costs by engine: seconds of audio and tokens a CPU-second, and how many tokens are the same.

    python tools/bench/engines.py exp/part dump/raw/test --utterances 64
    python tools/bench/engines.py exp/part dump/raw/test --utterances 16 --slots 8 --dtype float32 bfloat16
    python tools/bench/engines.py model.zip a.wav b.wav --lang de
    python tools/bench/engines.py random --engines transformers --slots 4 16 --bins 4600 18400

Loads the model once for each dtype and engine and decodes the same utterances with each number of slots,
then with each budget of positions. CPU-seconds are those of this process and of all that it has started,
encoder and adapter included, loading not. Of the engine transformers, also the most rows and positions (of
all rows, padding included) that the LLM was given at once. `random` is a model of random weights, with clips
of 2 to 4 s and of 30 s. Prints a table of Markdown.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch

from espnet_part.data.datadir import DataDir, Example
from espnet_part.decode import Speech2Text, engines
from espnet_part.decode.budget import Budget
from espnet_part.decode.speech2text import row_cost
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.score.error_rate import count_errors

ROOT = Path(__file__).resolve().parents[2]


def make_random(path: Path) -> list[str]:
    """An experiment in a directory; where clips for it are: 48 of 2 to 4 s, and then 12 of 30 s."""
    sys.path.insert(0, str(ROOT))
    from tests.decode import conftest

    conftest.MODEL["encoder_conf"]["config"]["max_source_positions"] = 1500
    conftest.MODEL["llm_conf"]["config"] |= {
        **{"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6},
        **{"num_attention_heads": 4, "max_position_embeddings": 4096, "initializer_range": 0.1},
    }
    conftest.make_exp(path)
    (path / "model.safetensors").rename(path / "valid.acc.ave.safetensors")
    clips = [path / f"{number}.wav" for number in range(60)]
    for number, clip in enumerate(clips):
        seconds = 2.0 + number / 24 if number < 48 else 30.0
        soundfile.write(clip, conftest.make_speech(seconds, number), SAMPLE_RATE)
    return list(map(str, clips))


class Peak:
    """The most rows and positions that an LLM is given at once."""

    def __init__(self, llm: Any) -> None:
        self.rows = self.positions = 0
        self._llm, self._hidden = llm, llm.hidden
        llm.hidden = self

    def __call__(self, embeddings: torch.Tensor, mask: torch.Tensor, *more: Any) -> torch.Tensor:
        self.rows = max(self.rows, len(mask))
        self.positions = max(self.positions, mask.numel())
        hidden: torch.Tensor = self._hidden(embeddings, mask, *more)
        return hidden

    def end(self) -> None:
        self._llm.hidden = self._hidden


def cpu_seconds() -> float:
    """Of this process and those that it has started and that run."""
    ticks = 0
    for path in Path("/proc/self/task").glob("*/children"):
        for child in path.read_text(encoding="ascii").split():
            fields = Path(f"/proc/{child}/stat").read_text(encoding="utf-8").rpartition(")")[2]
            ticks += sum(map(int, fields.split()[11:15]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def find_examples(data: Sequence[str], lang: str | None, most: int) -> list[Example]:
    """The utterances of a data directory, spread over it, or audio files."""
    if not Path(data[0]).is_dir():
        if lang is None:
            raise SystemExit("--lang is missing: the language of the audio files")
        return [Example(path, "asr", lang, lang, "", audio=path) for path in data]
    examples, _ = DataDir.load(Path(data[0]), need_text=False)
    return examples[:: max(1, len(examples) // most)][:most]


def agreement(tokens: dict[str, list[int]], reference: dict[str, list[int]]) -> str:
    """How many utterances have the reference's tokens, and the share of its tokens that are, aligned."""
    wanted, found = (
        [" ".join(map(str, by[utt])) for utt in reference] for by in (reference, tokens)
    )
    counts = count_errors(wanted, found)
    same = counts.sentences - counts.wrong_sentences
    return f"{same} of {counts.sentences}, {counts.percent(counts.correct):.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("model", help="as part_transcribe takes it, or `random`")
    parser.add_argument("data", nargs="*", help="a data directory, or audio files")
    parser.add_argument("--lang", help="language of the audio files")
    parser.add_argument("--utterances", type=int, default=64, help="of the data directory")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--bins", type=int, nargs="+", default=[], help="budgets of positions")
    parser.add_argument("--engines", nargs="+", default=engines.names(), choices=engines.names())
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=("float32", "bfloat16"))
    parser.add_argument("--num_threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.model == "random":
            options.data = make_random(Path(folder))
            options.model, options.lang = folder, "de"
        if not options.data:
            parser.error("data is missing")
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Print the table."""
    torch.set_num_threads(options.num_threads)
    examples = find_examples(options.data, options.lang, options.utterances)
    print(
        "| dtype | engine | at once | audio-s a CPU-s | tokens a CPU-s | CPU-s | wall-s "
        "| as the first line | as the first of its dtype | most rows | most positions |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    firsts: dict[str, dict[str, list[int]]] = {}
    for dtype, engine in itertools.product(options.dtype, options.engines):
        model = Speech2Text.from_pretrained(
            options.model, dtype=dtype, batch_size=max(options.slots), engine=engine
        )
        rows = sorted(map(model.prepare, examples), key=row_cost, reverse=True)
        seconds = sum(len(row.speech) for row in rows if row.speech is not None) / SAMPLE_RATE
        model.decode_rows(rows[-1:])
        bins = options.bins if engine == "transformers" else []
        for budget in (*map(Budget, options.slots), *(Budget(1, most) for most in bins)):
            model.engine.budget = budget
            peak = Peak(model.model.llm)
            cpu, wall = cpu_seconds(), time.perf_counter()
            found = {row.example.utt_id: best for row, best, _ in model.decode_stream(rows)}
            cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
            peak.end()
            tokens = {utt: best[0].token_int if best else [] for utt, best in found.items()}
            first = firsts.setdefault(dtype, tokens)
            count = sum(map(len, tokens.values()))
            at_once = f"{budget.most} {'rows' if budget.batch_bins is None else 'positions'}"
            most = f"{peak.rows} | {peak.positions}" if peak.rows else "- | -"
            print(
                f"| {dtype} | {engine} | {at_once} | {seconds / cpu:.2f} | {count / cpu:.1f} | {cpu:.1f} |"
                f" {wall:.1f} | {agreement(tokens, firsts[options.dtype[0]])} |"
                f" {agreement(tokens, first)} | {most} |",
                flush=True,
            )
        del model
        gc.collect()


if __name__ == "__main__":
    main()
