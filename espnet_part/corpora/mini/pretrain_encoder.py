"""Pretrain the embedded corpus's encoder: a small Whisper encoder, by CTC on letters.

    python -m espnet_part.corpora.mini.pretrain_encoder --data data --out exp/encoder

reads ``encoder_train`` and ``encoder_dev`` (clips that PART never trains on) and makes a directory
with ``config.json`` and ``model.safetensors`` in transformers' layout of a Whisper encoder, and
``pretraining.json`` with the letter error rates. It stands for the multilingual ASR encoder of a
real system. CTC: Graves et al. 2006.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_part.command import command
from espnet_part.corpora.directory import finished_directory
from espnet_part.errors import DataError
from espnet_part.files import apply_umask
from espnet_part.progress import open_bar

BLANK = 0


@dataclass(frozen=True)
class Options:
    """Sizes and steps; the same options and data give the same weights on the same machine."""

    data: str = "data"
    steps: int = 1300
    batch_size: int = 16
    lr: float = 2e-3
    dim: int = 128
    layers: int = 4
    heads: int = 4
    ff: int = 512
    seed: int = 0


@dataclass(frozen=True)
class Clip:
    """A clip's int16 samples, its letters, and its language."""

    samples: np.ndarray
    letters: str
    lang: str


def load_clips(directory: Path) -> list[Clip]:
    """Read a data directory's ASR clips; texts become lower-case letters and spaces.

    Raises:
        DataError: the directory is missing or faulty.
    """
    import soundfile

    from espnet_part.data.datadir import DataDir

    examples, faults = DataDir.load(directory)
    if faults or not examples:
        fault = faults[0] if faults else "no example"
        raise DataError(f"{directory}: cannot be used to pretrain the encoder: {fault}")
    clips = []
    for example in examples:
        samples, _ = soundfile.read(str(example.audio), dtype="int16")
        letters = "".join(c for c in example.text.lower() if c.isalpha() or c in " '")
        clips.append(Clip(samples, letters, example.lang))
    return clips


def batches(clips: Sequence[Clip], options: Options) -> Iterator[list[Clip]]:
    """Yield batches for all steps; clips of like lengths go together."""
    rng = random.Random(f"{options.seed} batches")
    steps = 0
    while True:
        order = rng.sample(range(len(clips)), len(clips))
        size = options.batch_size
        chunks = []
        for start in range(0, len(order), 16 * size):
            near = sorted(order[start : start + 16 * size], key=lambda i: len(clips[i].samples))
            chunks += [near[i : i + size] for i in range(0, len(near), size)]
        rng.shuffle(chunks)
        for chunk in chunks:
            if steps == options.steps:
                return
            yield [clips[i] for i in chunk]
            steps += 1


def collate(clips: Sequence[Clip]) -> tuple[Any, Any]:
    """Return (S, T) waveforms in [-1, 1], zero-padded, and their lengths."""
    import torch

    lengths = torch.tensor([len(clip.samples) for clip in clips])
    speech = torch.zeros(len(clips), int(lengths.max()))
    for row, clip in enumerate(clips):
        speech[row, : len(clip.samples)] = torch.from_numpy(clip.samples) / 32768
    return speech, lengths


def train(encoder: Any, head: Any, alphabet: str, clips: Sequence[Clip], options: Options) -> float:
    """Train both in place; return the mean loss of a clip over the last tenth of steps."""
    import torch

    parameters = [*encoder.parameters(), *head.parameters()]
    trained = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=options.lr, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = max(1, options.steps // 10)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, max(0.03, 1.5 * (1 - step / options.steps)), 1.0),
    )
    index = {letter: number for number, letter in enumerate(alphabet, BLANK + 1)}
    encoder.train()
    losses: list[float] = []
    bar = open_bar("Pretraining the encoder", options.steps, "steps")
    for batch in batches(clips, options):
        states, lengths = encoder(*collate(batch))
        scores = head(states).log_softmax(-1).transpose(0, 1)
        letters = [[index[letter] for letter in clip.letters] for clip in batch]
        loss = torch.nn.functional.ctc_loss(
            scores,
            torch.tensor([i for row in letters for i in row]),
            lengths,
            torch.tensor([len(row) for row in letters]),
            blank=BLANK,
            zero_infinity=True,
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        scheduler.step()
        losses.append(loss.item())
        bar.update()
        if len(losses) % 20 == 0:
            bar.set_postfix(loss=f"{sum(losses[-20:]) / 20:.3f}")
    bar.close()
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def letter_error_rates(
    encoder: Any, head: Any, alphabet: str, clips: Sequence[Clip]
) -> dict[str, float]:
    """Return the letter error rate in percent of each language, best path decoding."""
    import jiwer
    import torch

    encoder.eval()
    pairs: dict[str, tuple[list[str], list[str]]] = {}
    with torch.no_grad():
        for start in range(0, len(clips), 16):
            chunk = clips[start : start + 16]
            states, lengths = encoder(*collate(chunk))
            best = head(states).argmax(-1)
            for clip, path, length in zip(chunk, best.tolist(), lengths.tolist(), strict=True):
                path = path[:length]
                merged = [a for a, b in zip(path, [None, *path], strict=False) if a != b]
                heard = "".join(alphabet[i - 1] for i in merged if i != BLANK)
                references, hypotheses = pairs.setdefault(clip.lang, ([], []))
                references.append(clip.letters)
                hypotheses.append(heard)
    return {lang: round(100 * float(jiwer.cer(*pair)), 1) for lang, pair in sorted(pairs.items())}


def pretrain(options: Options, out: Path) -> bool:
    """Pretrain into ``out`` unless it is there already; say whether anything was done.

    Raises:
        DataError: the clips are missing.
    """
    data = Path(options.data)
    corpus = data / "corpus.json"
    made_from = corpus.read_text(encoding="utf-8") if corpus.is_file() else ""
    with finished_directory(out, {**asdict(options), "corpus": made_from}) as directory:
        if directory is None:
            return False
        import torch
        from safetensors.torch import save_file
        from transformers import WhisperConfig

        from espnet_part.model.encoders.whisper.module import WhisperEncoder

        started, started_cpu = time.time(), time.process_time()
        clips, held_out = load_clips(data / "encoder_train"), load_clips(data / "encoder_dev")
        alphabet = "".join(sorted({c for clip in [*clips, *held_out] for c in clip.letters}))
        torch.manual_seed(options.seed)
        config = WhisperConfig(
            d_model=options.dim,
            encoder_layers=options.layers,
            encoder_attention_heads=options.heads,
            encoder_ffn_dim=options.ff,
            decoder_layers=1,
            decoder_attention_heads=options.heads,
            decoder_ffn_dim=options.ff,
            architectures=["WhisperModel"],
        )
        encoder = WhisperEncoder(config)
        head = torch.nn.Linear(options.dim, len(alphabet) + 1)
        loss = train(encoder, head, alphabet, clips, options)
        result = {
            "parameters": sum(p.numel() for p in encoder.parameters()),
            "loss": round(loss, 4),
            "letter_error_rate": letter_error_rates(encoder, head, alphabet, held_out),
            "seconds": round(time.time() - started, 1),
            "cpu_seconds": round(time.process_time() - started_cpu, 1),
        }
        weights = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        apply_umask(directory / "model.safetensors")
        config.save_pretrained(directory)
        (directory / "pretraining.json").write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps(result))
    return True


def get_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        description="Pretrain a small Whisper encoder by CTC on the embedded corpus."
    )
    parser.add_argument("--out", type=Path, required=True, help="directory of the encoder")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default: %(default)s)")
    for name, value in asdict(Options()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help="(%(default)s)")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = vars(get_parser().parse_args(cmd))
    out, threads = args.pop("out"), args.pop("threads")
    import torch

    torch.set_num_threads(threads)
    if not pretrain(Options(**args), out):
        print(f"{out} is done already: nothing to do")


if __name__ == "__main__":
    main()
