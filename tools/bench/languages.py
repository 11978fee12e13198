"""How often the language that is detected is the one that is spoken, by the probability that it is given.

python tools/bench/languages.py exp/part/stage3/config.yaml dump/raw/dev --utterances 20
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from espnet_part.data.audio import read_audio
from espnet_part.data.datadir import DataDir, Example
from espnet_part.decode.speech2text import Speech2Text
from espnet_part.tasks import ASR

EDGES = (0.5, 0.7, 1.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="as part_transcribe's --model")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--weights", help="in place of the model's own")
    parser.add_argument("--langs", nargs="+", help="that the model knows, where it does not say")
    parser.add_argument("--utterances", type=int, default=20, help="of each language")
    args = parser.parse_args()
    settings = {"part_model_file": args.weights} if args.weights else {}
    model = Speech2Text.from_pretrained(args.model, **settings)
    if args.langs:
        model.trained_on = frozenset((ASR.name, lang, lang) for lang in args.langs)
    spoken = {lang for task, lang, _ in model.trained_on if task == ASR.name}
    by_language: dict[str, list[Example]] = defaultdict(list)
    for example in DataDir.load(args.data_dir)[0]:
        if example.task == ASR.name and example.lang in spoken:
            by_language[example.lang].append(example)
    rng = np.random.default_rng(0)
    right: Counter[float] = Counter()
    count: Counter[float] = Counter()
    seconds = 0.0
    for lang, examples in sorted(by_language.items()):
        for n in rng.permutation(len(examples))[: args.utterances].tolist():
            speech = read_audio(examples[n])
            seconds += len(speech) / 16000
            best = model.detect_language(speech)[0]
            bin_ = next(edge for edge in EDGES if best.probability < edge)
            count[bin_] += 1
            right[bin_] += best.lang == lang
            print(examples[n].utt_id, lang, best.lang, f"{best.probability:.2f}", flush=True)
    total, good = sum(count.values()), sum(right.values())
    low, high = binomtest(good, total).proportion_ci(method="wilson")
    shown = ", ".join(f"{right[edge]} of {count[edge]}" for edge in EDGES)
    print(f"{len(by_language)} languages, {total} utterances of {seconds / total:.1f} s: ", end="")
    print(
        f"{100 * good / total:.0f} % [{100 * low:.0f}, {100 * high:.0f}]; below 0.5, to 0.7, above: {shown}"
    )


if __name__ == "__main__":
    main()
