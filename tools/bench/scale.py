"""Memory and time of the data side of a training, from thousands to tens of millions of examples.

Makes examples (texts to translate, so that no audio is needed), writes them as stage 5 does, and reads them
as the processes of a node do: ranks that plan an epoch, each with loading workers that tokenise. See
scale.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import espnet_part  # noqa: F401 - before torch, so that its threads wait asleep
from espnet_part.data.chat import ChatFormat
from espnet_part.data.datadir import Example, ExampleWriter
from espnet_part.data.dataset import BatchConfig, give_back_memory
from espnet_part.data.examples import ExampleList, Examples
from espnet_part.data.heard import Heard
from espnet_part.data.index import ExampleTable, IndexWriter
from espnet_part.data.prompts import Prompts
from espnet_part.data.stage_data import LoaderConfig, SpeechSide, StageData
from espnet_part.data.tables import RANGE
from espnet_part.data.tokens import count_tokens
from espnet_part.schedule.schedule import Phase

ROOT = Path(__file__).parents[2]
LANGUAGES = ("de", "en", "es", "fr", "it", "pt", "ru", "zh")
TEXT = "the old man sees a small house and a red dog near the river in the evening"
WORDS = TEXT.split()
#: Of stages 2, 3, 5 and 6, in their order.
PROGRAMS = ("format_data", "filter_data", "collect_stats", "extract_features")
CLIPS, SAMPLES = 100, 32_000  # files of audio, and of each

# Runs a command, and prints its seconds of CPU and its largest memory (MB). A process starts with the
# largest memory of the one that starts it, so this is a small one.
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""

# Stage 6 with an encoder that costs nothing.
EXTRACT = """
import sys
from pathlib import Path
import numpy as np
from espnet_part.bin import part_extract_features
from espnet_part.decode import features
class Nothing:
    identity = {}
    def __call__(self, clips):
        return [np.zeros((1, 1), np.float32) for _ in clips]
features.Encoder.load = lambda *words: Nothing()
part_extract_features.main(sys.argv[1:])
"""


class Made(Sequence[Example]):
    """So many examples, each made when it is asked for."""

    def __init__(self, count: int) -> None:
        self.size = count

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, n: Any) -> Any:
        if isinstance(n, slice):
            return [self[k] for k in range(*n.indices(self.size))]
        if not 0 <= n < self.size:
            raise IndexError(n)
        lang = LANGUAGES[n % len(LANGUAGES)]
        start = n * 7 % len(WORDS)
        text = " ".join((WORDS + WORDS)[start : start + 4 + n % 12])
        tgt = "de" if lang == "en" else "en"
        return Example(f"u{n:09d}-t2tt", "t2tt", lang, tgt, text, text)


def tokens(count: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of prompts and answers, which come again after so many examples."""
    period = math.lcm(len(LANGUAGES), len(WORDS), 12)
    prompts = Prompts.load(str(ROOT / "conf/prompts.yaml"))
    counts = count_tokens(list(Made(period)), prompts, ChatFormat(_tokenizer(where)))
    prompt, answer = (np.resize(found, count) for found in counts)
    return prompt, answer


def memory(pids: Sequence[int]) -> dict[str, float]:
    """MB of processes and what they have forked, each page counted once: own memory, and files' pages."""
    found = {"Pss_Anon": 0.0, "Pss_File": 0.0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in found:
                found[name] += int(rest.split()[0]) / 1024
    return found


def children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid]


def rank(
    where: str, how: str, count: int, world: int, number: int, workers: int, steps: int, out: Any
) -> None:
    """A rank: open, plan, load some steps, and say what it took."""
    import torch

    torch.set_num_threads(1)
    chat = ChatFormat(_tokenizer(where))  # before the start: its memory is no example's
    prompts = Prompts.load(str(ROOT / "conf/prompts.yaml"))
    give_back_memory()
    before = memory([os.getpid()])
    began = time.perf_counter()
    examples: Examples
    if how == "index":
        examples = ExampleTable(Path(where, "index"))
    else:
        examples = ExampleList(list(Made(count)))
        examples.token_counts = tokens(count, where)  # type: ignore[assignment]
    batch = BatchConfig(bins=8000)
    loader = LoaderConfig(batch, 0, world, number, 1, workers)
    data = StageData(examples, prompts, chat, loader)
    mixture: Any = {"tasks": ["t2tt"], "language_temperature": 2.0, "steps": steps}
    declared = Phase(name="phase", train=["adapter"], lr={"adapter": 1e-3}, **mixture)
    phase = data.phase(declared, SpeechSide(lambda s: (s, s), {}), True, "phase")
    heard = Heard.nothing(len(examples))
    data.streams, data.digests()
    iterator: Iterator[Any] = phase.loader(heard, phase_start(), 10**9)
    next(iterator)
    started = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(steps):
        position, _ = next(iterator)
    seconds = time.perf_counter() - began
    phase.heard_after(heard, position)
    after = memory([os.getpid(), *children()])
    out.put(
        {
            "start": started,
            "steps": steps / seconds,
            "own": after["Pss_Anon"] - before["Pss_Anon"],
            "files": after["Pss_File"] - before["Pss_File"],
        }
    )
    out.close()
    out.join_thread()
    time.sleep(3600)  # until all have measured: shares depend on who is there


def phase_start() -> Any:
    from espnet_part.data.dataset import DataPosition

    return DataPosition()


def _tokenizer(where: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(Path(where, "tokenizer"))


def measure(
    count: int, how: str, world: int, workers: int, steps: int, where: str
) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    processes = [
        context.Process(target=rank, args=(where, how, count, world, n, workers, steps, out))
        for n in range(world)
    ]
    for process in processes:
        process.start()
    found = [out.get(timeout=1800) for _ in processes]
    for process in processes:
        process.kill()
        process.join()
    return {
        "examples": count,
        "how": how,
        "ranks": world,
        "workers": workers,
        "start_seconds": max(f["start"] for f in found),
        "steps_a_second": sum(f["steps"] for f in found) / world,
        "own_mb": sum(f["own"] for f in found),
        "files_mb": sum(f["files"] for f in found),
    }


def stages(count: int, nj: int, audio_format: str, chosen: Sequence[str]) -> None:
    """Some of stages 2, 3, 5 and 6 on a directory of speech, as part.sh runs them on this machine."""
    import yaml

    from tests.train.tiny import make_tokenizer

    with tempfile.TemporaryDirectory() as where:
        data = Path(where, "data")
        org = Path(where, "org") if "format_data" in chosen else data
        out = Path(where, "out") if "filter_data" in chosen else org
        _in_a_process(_make_speech, (str(data), count))
        make_tokenizer(Path(where, "tokenizer"))
        model = {
            "encoder_conf": {"config": {"d_model": 12}},
            "llm_conf": {
                "config": {"model_type": "qwen2", "vocab_size": 400},
                "tokenizer": str(Path(where, "tokenizer")),
            },
            "prompts": str(ROOT / "conf/prompts.yaml"),
        }
        Path(where, "model.yaml").write_text(yaml.safe_dump(model))
        programs: dict[str, list[object]] = {
            "format_data": ["--in_dir", data, "--out_dir", org, "--audio_format", audio_format],
            "filter_data": ["--in_dir", org, "--out_dir", out],
            "collect_stats": [
                *("--data_dir", out, "--model_config", f"{where}/model.yaml"),
                *("--out_dir", f"{where}/stats"),
            ],
            "extract_features": [
                *("--data_dir", out, "--model_config", f"{where}/model.yaml"),
                *("--out_dir", f"{where}/feats"),
            ],
        }
        for name in chosen:
            words = programs[name]
            command = [sys.executable, "-m", f"espnet_part.bin.part_{name}", *map(str, words)]
            command += ["--nj", str(nj)]
            if name == "extract_features":
                command = [sys.executable, "-c", EXTRACT, *map(str, words)]
            done = subprocess.run(
                [sys.executable, "-c", MEASURED, *command], check=True, stdout=subprocess.PIPE
            )
            seconds, peak = map(float, done.stdout.split()[-2:])
            print(
                f"{count:,} examples, --nj {nj}, part_{name}: {seconds:.0f} s of CPU, {peak:.0f} MB",
                flush=True,
            )


def _make_speech(where: str, count: int) -> None:
    """Examples that two by two share a recording; of these there are a few, each under many names."""
    import soundfile

    clips = Path(where, "clips")
    clips.mkdir(parents=True)
    noise = 0.1 * np.random.default_rng(0).standard_normal((CLIPS, SAMPLES))
    for number, samples in enumerate(noise):
        soundfile.write(clips / f"{number}.wav", samples, 16000)
    for number in range(-(-count // (2 * CLIPS))):
        Path(where, f"d{number}").symlink_to("clips")
    with ExampleWriter(where) as writer:
        for start in range(0, count, RANGE):
            part = slice(start, start + RANGE)
            writer.add(
                [
                    dataclasses.replace(
                        example,
                        task="s2tt",
                        audio=f"{where}/d{n // 2 // CLIPS}/{n // 2 % CLIPS}.wav",
                        num_samples=SAMPLES,
                    )
                    for n, example in enumerate(Made(count)[part], start)
                ]
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--how", nargs="+", choices=("index", "list"), default=["index", "list"])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="of each rank")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--stages", action="store_true", help="of stages 2, 3, 5 and 6 instead")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS, help="of them")
    parser.add_argument("--nj", type=int, default=1, help="processes of these stages")
    parser.add_argument("--audio_format", default="copy", help="of stage 2")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    for count in args.examples if args.stages else ():
        stages(count, args.nj, args.audio_format, args.programs)
    if args.stages:
        return
    from tests.train.tiny import make_tokenizer

    rows = []
    for count in args.examples:
        with tempfile.TemporaryDirectory() as where:
            make_tokenizer(Path(where, "tokenizer"))
            began = time.perf_counter()
            _in_a_process(_write, (where, count))
            written = time.perf_counter() - began
            size = sum(path.stat().st_size for path in Path(where, "index").iterdir()) / 1e6
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(f"{count:,} examples: index of {size:.0f} MB in {written:.0f} s, {peak:.0f} MB")
            for how in args.how:
                row = measure(count, how, args.ranks, args.workers, args.steps, where)
                print(
                    json.dumps(
                        {k: round(v, 1) if isinstance(v, float) else v for k, v in row.items()}
                    )
                )
                rows.append(
                    {**row, "index_mb": size, "index_seconds": written, "index_peak_mb": peak}
                )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


def _write(where: str, count: int) -> None:
    made, (prompt, answer) = Made(count), tokens(count, where)
    with IndexWriter(Path(where, "index"), []) as index:
        for start in range(0, count, RANGE):
            part = slice(start, start + RANGE)
            index.add(made[part], prompt[part], answer[part])


def _in_a_process(work: Any, words: tuple[Any, ...]) -> None:
    process = multiprocessing.get_context("spawn").Process(target=work, args=words)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"writing the index failed ({process.exitcode})")


if __name__ == "__main__":
    main()
