"""How far `word_times` is from the truth, where that is known: at the edges of recordings that are joined.

Two recordings of a data directory, cut to their speech, are laid one after the other with silence before,
between and behind them. The first word of each begins, and the last one ends, where the recording does. The
text is the transcripts', so the figures are those of the alignment alone.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from espnet_part.data.audio import read_audio
from espnet_part.data.datadir import DataDir
from espnet_part.decode.speech2text import Speech2Text
from espnet_part.decode.word_times import word_times
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.tasks import ASR

FRAME = SAMPLE_RATE // 100
BELOW = 35.0  # dB under the loudest frame is no speech: prompts have no noise


def speech_of(samples: np.ndarray) -> np.ndarray:
    """Samples without the silence around what is said."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    levels = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)
    loud = np.flatnonzero(levels > levels.max() - BELOW)
    return samples[loud[0] * FRAME : (loud[-1] + 1) * FRAME]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="as part_transcribe's --model")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--pairs", type=int, default=40, help="of recordings, a language")
    args = parser.parse_args()
    model = Speech2Text.from_pretrained(args.model)
    rng = np.random.default_rng(0)
    by_language = defaultdict(list)
    for example in DataDir.load(args.data_dir)[0]:
        if example.task == ASR.name and example.text and len(example.text.split()) > 1:
            by_language[example.lang].append(example)
    print(
        "|language|pairs|begin of a word: median (90 %), bias|end of a word: median (90 %), bias|"
    )
    print("|---|---|---|---|")
    everything: list[np.ndarray] = []
    for lang, examples in sorted(by_language.items()):
        errors = []
        order = rng.permutation(len(examples))[: 2 * args.pairs].tolist()
        for one, other in zip(order[::2], order[1::2], strict=False):
            clips = [speech_of(read_audio(examples[n])) for n in (one, other)]
            gaps = [
                np.zeros(int(s * SAMPLE_RATE), np.float32) for s in (0.5, rng.uniform(0.3, 1), 0.5)
            ]
            joined = np.concatenate([gaps[0], clips[0], gaps[1], clips[1], gaps[2]])
            begins = (
                np.array([len(gaps[0]), len(joined) - len(gaps[2]) - len(clips[1])]) / SAMPLE_RATE
            )
            ends = begins + np.array([len(clip) for clip in clips]) / SAMPLE_RATE
            texts = [examples[n].text for n in (one, other)]
            words = word_times(model, joined, " ".join(texts))
            last = len(texts[0].split()) - 1
            found = np.array(
                [[words[0].start, words[last + 1].start], [words[last].end, words[-1].end]]
            )
            errors.append((found - np.array([begins, ends])).T)
        everything += errors
        show(lang, errors)
    show("all", everything)


def show(name: str, errors: list[np.ndarray]) -> None:
    """A row: milliseconds."""
    both = 1000 * np.concatenate(errors)
    columns = [
        f"{np.median(np.abs(e)):.0f} ({np.quantile(np.abs(e), 0.9):.0f}), {np.median(e):+.0f}"
        for e in both.T
    ]
    print(f"|{name}|{len(errors)}|{'|'.join(columns)}|", flush=True)


if __name__ == "__main__":
    main()
