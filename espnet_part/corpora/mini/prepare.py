"""Make the embedded corpus: speech, and Kaldi-style data directories for every use of it.

    python -m espnet_part.corpora.mini.prepare --langs "en de es" --out data

writes ``train``, ``dev`` and ``test`` (ASR in every language, speech translation from and into
English; text translation in train and dev) and ``encoder_train`` and ``encoder_dev`` (ASR, the
clips on which `pretrain_encoder` trains). Dev and test are parallel, their sentences hold word
combinations that no training has heard, and half of their voices are new. Text for `pretrain_llm`
is drawn from the grammar when it is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from espnet_part.command import command
from espnet_part.corpora.ledger import Ledger
from espnet_part.corpora.mini import espeak, grammar, lexicon, speech
from espnet_part.corpora.mini.grammar import check_languages, draw_frames, sentence
from espnet_part.corpora.writer import direction
from espnet_part.errors import ConfigError
from espnet_part.files import atomic_write
from espnet_part.tasks import ASR, S2TT, T2TT

PIVOT = "en"


@dataclass(frozen=True)
class Options:
    """What is made; the same options always give the same bytes.

    Clips and sentences are counted per language, text translations per direction.
    """

    langs: tuple[str, ...] = ("en", "de", "es")
    train_clips: int = 1500
    dev_clips: int = 40
    test_clips: int = 120
    text_pairs: int = 1500
    encoder_clips: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        check_languages(list(self.langs))
        if len(set(self.langs)) < len(self.langs):
            raise ConfigError(f"a language is given twice: {' '.join(self.langs)}")
        if len(self.langs) < 2 or PIVOT not in self.langs:
            raise ConfigError(
                f"translation needs `{PIVOT}` and another language: {' '.join(self.langs)}"
            )
        for name, value in asdict(self).items():
            if name not in ("langs", "seed") and value < 1:
                raise ConfigError(f"{name} must be at least 1: {value}")


@dataclass(frozen=True)
class Part:
    """One set of clips of one language, made by one process of eSpeak NG in a fixed order."""

    name: str
    lang: str
    roles: str
    frames_seed: str
    clips: int
    variants: tuple[str, ...]
    out: str
    seed: int


@dataclass(frozen=True)
class Clip:
    """A clip and what it says in every language."""

    utt: str
    speaker: str
    lang: str
    wav: str
    num_samples: int
    texts: dict[str, str]


@dataclass(frozen=True)
class Example:
    """A line of every file of a data directory; ``clip`` is None for text-only examples."""

    utt: str
    task: str
    lang: str
    tgt: str
    text: str
    src_text: str
    clip: Clip | None = None


def plan(options: Options, out: Path) -> list[Part]:
    """List the sets of clips; which frames are allowed in each is the grammar's `role`."""
    kinds = {
        "train": ("train", options.train_clips, speech.TRAIN_VARIANTS, False),
        "dev": ("dev", options.dev_clips, speech.DEV_VARIANTS, True),
        "test": ("test", options.test_clips, speech.TEST_VARIANTS, True),
        "encoder_train": ("encoder", options.encoder_clips, speech.ENCODER_VARIANTS, False),
        "encoder_dev": ("dev", options.dev_clips, speech.DEV_VARIANTS, False),
    }
    return [
        Part(
            name=name,
            lang=lang,
            roles=roles,
            frames_seed=f"{options.seed} {name}" + ("" if parallel else f" {lang}"),
            clips=clips,
            variants=variants,
            out=str(out),
            seed=options.seed,
        )
        for name, (roles, clips, variants, parallel) in kinds.items()
        for lang in options.langs
    ]


def make_clips(part: Part, langs: tuple[str, ...]) -> list[Clip]:
    """Say and write one part's clips.

    Raises:
        DataError: eSpeak NG is missing or refuses a voice.
    """
    import soundfile

    rng = random.Random(f"{part.seed} {part.name} {part.lang} voices")
    directory = Path(part.out) / "audio" / part.name / part.lang
    directory.mkdir(parents=True, exist_ok=True)
    clips = []
    with speech.Synthesizer() as synthesizer:
        frames = islice(draw_frames(part.roles, part.frames_seed), part.clips)
        for number, frame in enumerate(frames):
            variant = part.variants[number % len(part.variants)]
            delivery = speech.Delivery.draw(rng, variant)
            texts = {lang: sentence(frame, lang) for lang in langs}
            samples = synthesizer.say(texts[part.lang], part.lang, delivery, rng.getrandbits(32))
            speaker = f"{part.lang}_{variant}"
            utt = f"{speaker}_{part.name}{number:05d}"
            wav = directory / f"{utt}.wav"
            soundfile.write(wav, samples, speech.SAMPLE_RATE, subtype="PCM_16")
            clips.append(Clip(utt, speaker, part.lang, str(wav), len(samples), texts))
    return clips


def speech_examples(clips: Sequence[Clip], langs: Sequence[str], translate: bool) -> list[Example]:
    """Give each clip its transcription and, if wanted, its translations from or into English."""
    examples = []
    for clip in clips:
        source = clip.texts[clip.lang]
        examples.append(
            Example(f"{clip.utt}-asr-{clip.lang}", ASR.name, clip.lang, clip.lang, source, "", clip)
        )
        for tgt in targets(clip.lang, langs) if translate else ():
            examples.append(
                Example(
                    f"{clip.utt}-s2tt-{tgt}",
                    S2TT.name,
                    clip.lang,
                    tgt,
                    clip.texts[tgt],
                    source,
                    clip,
                )
            )
    return examples


def text_examples(name: str, roles: str, pairs: int, options: Options) -> list[Example]:
    """Draw text translations from and into English, ``pairs`` a direction."""
    examples = []
    for lang in options.langs:
        for tgt in targets(lang, options.langs):
            frames = draw_frames(roles, f"{options.seed} {name} text {lang} {tgt}")
            for number, frame in enumerate(islice(frames, pairs)):
                utt = f"{lang}_text_{name}{number:05d}-t2tt-{tgt}"
                source, target = sentence(frame, lang), sentence(frame, tgt)
                examples.append(Example(utt, T2TT.name, lang, tgt, target, source))
    return examples


def targets(lang: str, langs: Sequence[str]) -> list[str]:
    """Say into which languages a language is translated: all from English, else English."""
    return [tgt for tgt in langs if tgt != PIVOT] if lang == PIVOT else [PIVOT]


def write_directory(directory: Path, examples: Sequence[Example], release: str) -> None:
    """Write a Kaldi-style data directory, each file whole or not at all, and what it holds."""
    files: dict[str, list[str]] = defaultdict(list)
    for example in sorted(examples, key=lambda example: example.utt.encode()):
        columns = {
            "text": example.text,
            "utt2task": example.task,
            "utt2lang": example.lang,
            "utt2tgt": example.tgt,
        }
        if example.src_text:
            columns["src_text"] = example.src_text
        if example.clip is not None:
            columns["wav.scp"] = example.clip.wav
            columns["utt2spk"] = example.clip.speaker
            columns["utt2num_samples"] = str(example.clip.num_samples)
        for name, value in columns.items():
            files[name].append(f"{example.utt} {value}\n")
    for name, lines in files.items():
        with atomic_write(directory / name) as file:
            file.writelines(lines)
    ledger = Ledger("mini_multilingual", release)
    ledger.open_split(directory.name, directory)
    for example in examples:
        key = (directory.name, direction(example.lang, example.tgt), example.task)
        ledger.read(*key)
        ledger.keep(*key)
    ledger.close_split(directory.name, directory)


def prepare(options: Options, out: Path, jobs: int = 2) -> bool:
    """Make the corpus in ``out`` unless it is there already; say whether it was made.

    Raises:
        DataError: eSpeak NG is missing; nothing but audio has been written then.
    """
    marker = out / "corpus.json"
    description = json.dumps({**asdict(options), "code": code_digest()}, indent=1) + "\n"
    if marker.is_file() and marker.read_text(encoding="utf-8") == description:
        return False
    marker.unlink(missing_ok=True)
    clips = _make_all(plan(options, out), options.langs, jobs)
    release = f"made with seed {options.seed}"
    for name, roles in (("train", "train"), ("dev", "dev")):
        pairs = options.text_pairs if name == "train" else options.dev_clips
        examples = speech_examples(clips[name], options.langs, translate=True)
        examples += text_examples(name, roles, pairs, options)
        write_directory(out / name, examples, release)
    examples = speech_examples(clips["test"], options.langs, translate=True)
    write_directory(out / "test", examples, release)
    for name in ("encoder_train", "encoder_dev"):
        examples = speech_examples(clips[name], options.langs, translate=False)
        write_directory(out / name, examples, release)
    with atomic_write(marker) as file:
        file.write(description)
    return True


def code_digest() -> str:
    """Hash the code and the words that decide what is written: another corpus is made anew."""
    files = [Path(str(module.__file__)) for module in (lexicon, grammar, espeak, speech)]
    files.append(Path(__file__))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _make_all(parts: list[Part], langs: tuple[str, ...], jobs: int) -> dict[str, list[Clip]]:
    from tqdm import tqdm

    # Which process makes a part does not matter: each part has an eSpeak NG of its own.
    clips: dict[str, dict[str, list[Clip]]] = defaultdict(dict)
    total = sum(part.clips for part in parts)
    with (
        ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool,
        tqdm(total=total, desc="Synthesising speech", unit=" clips") as bar,
    ):
        futures = {pool.submit(make_clips, part, langs): part for part in parts}
        try:
            for future in as_completed(futures):
                part = futures[future]
                clips[part.name][part.lang] = future.result()
                bar.update(part.clips)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {name: [c for lang in langs for c in by[lang]] for name, by in clips.items()}


def get_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        description="Make the embedded corpus (speech by eSpeak NG) as Kaldi-style directories."
    )
    defaults = Options()
    parser.add_argument(
        "--langs",
        default=" ".join(defaults.langs),
        help="languages, English among them: en de es fr it pt ru zh (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=Path("data"), help="default: %(default)s")
    for name, what in (
        ("train_clips", "training clips of each language"),
        ("dev_clips", "dev clips of each language"),
        ("test_clips", "test clips of each language"),
        ("text_pairs", "text translations for training in each direction"),
        ("encoder_clips", "clips of each language to pretrain the encoder on"),
        ("seed", "seed of texts, voices and noise"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=getattr(defaults, name), help=f"{what} (%(default)s)"
        )
    parser.add_argument("--nj", type=int, default=2, help="processes (default: %(default)s)")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = vars(get_parser().parse_args(cmd))
    out, jobs = args.pop("out"), args.pop("nj")
    args["langs"] = tuple(args["langs"].replace(",", " ").split())
    if prepare(Options(**args), out, jobs):
        print(f"The embedded corpus is in {out}")
    else:
        print(f"The embedded corpus is in {out} already: nothing to do")


if __name__ == "__main__":
    main()
