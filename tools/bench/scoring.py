"""How long scoring takes, and how far its intervals and tests can be trusted.

    python tools/bench/scoring.py speed --utterances 100000 --nj 2
    python tools/bench/scoring.py trust --simulations 2000

``speed`` makes a data directory of recognition in six languages or of translation in six
directions, with utterances as long as Common Voice's, runs part_score on it and prints its time.
``trust`` draws test sets from a population whose error rate is known, and prints how often the
95 % interval holds it; and how often the paired tests find a difference between two systems of one
quality (5 % is right).
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LANGUAGES = ("en", "de", "fr", "ru", "zh", "ja")
DIRECTIONS = (("de", "en"), ("fr", "en"), ("zh", "en"), ("en", "de"), ("en", "zh"), ("en", "ja"))
LETTERS = {
    "ru": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфё",
    "zh": "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可",
    "ja": "いうんしかのとてたなにはがをるもでことまさりられっすあきよそれだ今日人本学生時間大小",
}
LATIN = "eeeeeaaaoooiiinnttsshrdlucmfwypbgvk"
UNSPACED = ("zh", "ja")


class Writer:
    """Sentences of made-up words, as frequent as words of a language are."""

    def __init__(self, language: str, seed: int) -> None:
        self.language = language
        self.random = random.Random(f"{language} {seed}")
        letters = LETTERS.get(language, LATIN)
        if language in UNSPACED:
            self.words = list(letters)
        else:
            self.words = [
                "".join(self.random.choices(letters, k=self.random.randint(2, 9)))
                for _ in range(20_000)
            ]
        self.weights = np.cumsum([1 / rank for rank in range(1, len(self.words) + 1)]).tolist()

    def draw(self, count: int) -> list[str]:
        return self.random.choices(self.words, cum_weights=self.weights, k=count)

    def sentence(self) -> list[str]:
        if self.language in UNSPACED:
            return self.draw(max(4, round(self.random.gauss(18, 5))))
        words = self.draw(max(3, round(self.random.gauss(10, 3))))
        if self.language == "en" and self.random.random() < 0.2:
            words.insert(1, self.random.choice(["isn't", "twenty five", "1,000", "Mr.", "colour"]))
        return words

    def write(self, words: list[str]) -> str:
        if self.language in UNSPACED:
            return "".join(words) + "。"
        text = " ".join(words)
        return text[:1].upper() + text[1:] + "."

    def recognize(self, words: list[str], rate: float = 0.1) -> list[str]:
        """The words with errors."""
        heard = []
        for word in words:
            luck = self.random.random() / rate
            if luck < 0.6:
                heard += self.draw(1)
            elif luck < 0.8:
                continue
            elif luck < 1:
                heard += [word, *self.draw(1)]
            else:
                heard.append(word)
        return heard


def write_data(directory: Path, task: str, utterances: int, seed: int = 0) -> None:
    """A data directory with `text`, `utt2task`, `utt2lang`, `utt2tgt`, lengths and `hyp`."""
    kinds = [(lang, lang) for lang in LANGUAGES] if task == "asr" else list(DIRECTIONS)
    writers = {target: Writer(target, seed) for _, target in kinds}
    names = ("text", "hyp", "utt2task", "utt2lang", "utt2tgt", "utt2num_samples")
    tables: dict[str, list[str]] = {name: [] for name in names}
    for number in range(utterances):
        source, target = kinds[number % len(kinds)]
        writer = writers[target]
        words = writer.sentence()
        heard = writer.recognize(words, 0.1 if task == "asr" else 0.4)
        values = (writer.write(words), writer.write(heard), task, source, target, "80000")
        for name, value in zip(names, values, strict=True):
            tables[name].append(f"{task}_{source}_{number:06} {value}\n")
    for name, lines in tables.items():
        (directory / name).write_text("".join(lines), encoding="utf-8")


def measure_speed(utterances: int, nj: int) -> None:
    for task in ("asr", "s2tt"):
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            write_data(directory, task, utterances)
            command = [sys.executable, "-m", "espnet_part.bin.part_score", "--nj", str(nj)]
            command += ["--ref_dir", name, "--hyp_text", str(directory / "hyp")]
            start, used = time.perf_counter(), _cpu_seconds()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds, used = time.perf_counter() - start, _cpu_seconds() - used
            scores = json.loads((directory / "score.json").read_text(encoding="utf-8"))
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
        print(
            f"{task}: {scores['utterances']} utterances in {seconds:.1f} s with {nj} processes "
            f"({used:.1f} s of processor time), {scores['bootstrap']['samples']} "
            f"bootstrap samples, at most {memory:.0f} MB a process"
        )


def _cpu_seconds() -> float:
    """Of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def simulate(generator: np.random.Generator, utterances: int, systems: int) -> np.ndarray:
    """Counts (systems, utterances, COLUMNS) of systems that err in 10 % of the words.

    Utterances differ in length and in difficulty, and what is hard for one system is for another.
    """
    words = generator.integers(4, 17, size=utterances)
    difficulty = generator.beta(0.5, 4.5, size=utterances)
    counts = np.zeros((systems, utterances, 6), dtype=np.int64)
    counts[:, :, 0] = words
    for system in counts:
        system[:, 2] = generator.binomial(words, difficulty)
    return counts


def measure_trust(simulations: int, sizes: tuple[int, ...] = (100, 300, 1000)) -> None:
    from espnet_part.score.bootstrap import (
        percentile_interval,
        resample_sums,
        two_sided_p_value,
    )
    from espnet_part.score.error_rate import error_rates
    from espnet_part.score.score_config import BootstrapConfig

    config = BootstrapConfig()
    for size in sizes:
        generator = np.random.default_rng(size)
        covered = alarms = quirk = 0
        for number in range(simulations):
            counts = np.hstack(list(simulate(generator, size, 2)))
            sums = np.vstack([counts.sum(axis=0), resample_sums(counts, config, str(number))])
            one, two = (error_rates(part) for part in np.hsplit(sums, 2))
            interval = percentile_interval(one[1:], config.level)
            covered += interval is not None and interval.low <= 10.0 <= interval.high
            difference = two - one
            alarms += two_sided_p_value(difference[1:], difference[0]) < 0.05
            # the arithmetic of sacreBLEU's paired bootstrap, on the same draws
            absolute = np.abs(difference)
            extreme = absolute[1:] - absolute[1:].mean() > absolute[0]
            quirk += (extreme.sum() + 1) / (config.samples + 1) < 0.05
        print(
            f"{size} utterances, {simulations} test sets: the 95 % interval holds the true rate in "
            f"{100 * covered / simulations:.1f} %; of two systems of one quality the paired test "
            f"calls {100 * alarms / simulations:.1f} % different at p < 0.05, sacreBLEU's "
            f"arithmetic {100 * quirk / simulations:.1f} %"
        )


def measure_trust_of_bleu(simulations: int, size: int = 300, population: int = 20_000) -> None:
    """Test sets drawn from many translations, whose BLEU is the true one.

    The two systems to be told apart have equally good translations of each sentence: which of the
    two is whose is drawn by lot.
    """
    from espnet_part.score.bleu import figures_of, translation_statistics
    from espnet_part.score.bootstrap import (
        percentile_interval,
        resample_sums,
        two_sided_p_value,
    )
    from espnet_part.score.score_config import BootstrapConfig

    config = BootstrapConfig()
    writer = Writer("en", 0)
    sentences = [writer.sentence() for _ in range(population)]
    references = [writer.write(words) for words in sentences]
    systems = []
    for _ in range(2):
        heard = [writer.write(writer.recognize(words, 0.4)) for words in sentences]
        systems.append(translation_statistics(references, heard))
    truth = figures_of(systems[0].sum(axis=0)[None], "13a")[0]
    generator = np.random.default_rng(0)
    covered, alarms, quirk = (np.zeros(3, dtype=int) for _ in range(3))
    for number in range(simulations):
        drawn = generator.integers(population, size=size)
        turned = generator.integers(2, size=(size, 1)).astype(bool)
        pair = [np.where(turned, systems[i][drawn], systems[1 - i][drawn]) for i in (0, 1)]
        counts = np.hstack([systems[0][drawn], *pair])
        sums = np.vstack([counts.sum(axis=0), resample_sums(counts, config, str(number))])
        whole, one, two = (figures_of(part, "13a") for part in np.hsplit(sums.astype(int), 3))
        for column in range(3):
            interval = percentile_interval(whole[1:, column], config.level)
            covered[column] += (
                interval is not None and interval.low <= truth[column] <= interval.high
            )
            difference = two[:, column] - one[:, column]
            alarms[column] += two_sided_p_value(difference[1:], difference[0]) < 0.05
            absolute = np.abs(difference)
            extreme = absolute[1:] - absolute[1:].mean() > absolute[0]
            quirk[column] += (extreme.sum() + 1) / (config.samples + 1) < 0.05
    for column, name in ((0, "BLEU"), (2, "chrF++")):
        share = [100 * counted[column] / simulations for counted in (covered, alarms, quirk)]
        print(
            f"{name}, {size} sentences, {simulations} test sets: interval holds the true figure in "
            f"{share[0]:.1f} %; false alarms: {share[1]:.1f} % two-sided, {share[2]:.1f} % by "
            "sacreBLEU's arithmetic"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "trust"))
    parser.add_argument("--utterances", type=int, default=100_000)
    parser.add_argument("--nj", type=int, default=2)
    parser.add_argument("--simulations", type=int, default=1000)
    args = parser.parse_args()
    if args.what == "speed":
        measure_speed(args.utterances, args.nj)
    else:
        measure_trust(args.simulations)
        measure_trust_of_bleu(args.simulations)


if __name__ == "__main__":
    main()
