"""Data directories of Asterisk's prompts: real speech of one speaker a language.

    python -m espnet_part.corpora.asterisk.prepare --langs "en es fr it ru" --out data

fetches the packages and writes ``train``, ``dev`` and ``test``: ASR of every language, S2TT between
English and each other one by the prompts' ids, and in ``train`` and ``dev`` T2TT, likewise. In
``test_exchanged`` each transcript of ``test`` has the speech of another prompt: a model that hears fails
there, one that recites what prompts are like does not.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_part.command import HelpFormatter, command, count
from espnet_part.corpora.asterisk.packages import (
    LANGUAGES,
    MIRROR,
    PIVOT,
    fetch_packages,
    find_recordings,
    read_transcripts,
    unpacked,
)
from espnet_part.corpora.asterisk.prompts import Prompt, read_prompts
from espnet_part.corpora.asterisk.reading import read_texts
from espnet_part.corpora.asterisk.splits import split_prompts
from espnet_part.corpora.asterisk.texts import PROGRAMS, Texts, choose_texts, fetch_texts
from espnet_part.corpora.languages import parse_languages
from espnet_part.corpora.ledger import Ledger
from espnet_part.corpora.writer import DirectoryWriter, direction
from espnet_part.data.datadir import DataDir, Example
from espnet_part.errors import ConfigError, DataError
from espnet_part.files import atomic_write
from espnet_part.progress import open_bar
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.tasks import ASR, S2TT, T2TT, TASKS

SPLITS = ("train", "dev", "test")
TRAIN = SPLITS[0]
DEV_PROMPTS, TEST_PROMPTS = 28, 64
LONGEST = 30.0
"""Seconds of a recording: what Whisper's window holds, in whole systems as in an encoder."""
_TOO_LONG = f"longer than {LONGEST:g} s"
_BEYOND = "beyond --max_prompts"
_NO_PROMPT = "no usable prompt in the other language"


@dataclass(frozen=True)
class Recorded:
    """A language's prompts that can be used, and why the others cannot.

    Attributes:
        prompts: all of them, by id. wavs: the recordings of those without a fault: file and samples.
    """

    prompts: Mapping[str, Prompt]
    wavs: Mapping[str, tuple[str, int]]

    @property
    def texts(self) -> dict[str, str]:
        return {name: prompt.text for name, prompt in self.prompts.items() if not prompt.fault}


def prepare(
    langs: Sequence[str],
    out: Path,
    downloads: Path,
    mirror: str = MIRROR,
    max_prompts: int | None = None,
    texts: int = 0,
) -> Ledger:
    """Write ``train``, ``dev``, ``test`` and ``test_exchanged``.

    Args:
        max_prompts: of each split, for a trial; all by default.
        texts: messages of programs, read by eSpeak NG, that are added to ``train``.

    Raises:
        DataError: a package cannot be had or is damaged; PyAV is missing.
    """
    licenses = "; ".join(
        f"{lang}: {LANGUAGES[lang].license}, {LANGUAGES[lang].author}" for lang in langs
    )
    ledger = Ledger("Asterisk core sounds", "1.6.1", licenses)
    languages = {lang: read_language(lang, out, downloads, mirror) for lang in langs}
    prompts = {lang: language.texts for lang, language in languages.items()}
    split = split_prompts(prompts, DEV_PROMPTS, TEST_PROMPTS)
    read: list[Texts] = []
    if texts:
        held_out = [
            {lang: own[key] for lang, own in prompts.items() if key in own}
            for key, name in split.items()
            if name != TRAIN
        ]
        read = choose_texts(fetch_texts(langs, downloads, mirror), texts, held_out)
    beyond = frozenset(
        key
        for name in SPLITS
        for key in sorted(key for key, of in split.items() if of == name)[max_prompts:]
        if max_prompts is not None
    )
    for name in SPLITS:
        with DirectoryWriter(out / name, ledger) as writer:
            for lang in langs:
                for example in make_examples(lang, languages, name, split, ledger, beyond):
                    writer.add(example)
            if name == TRAIN and read:
                ledger.note(f"{len(read)} texts of programs are read by eSpeak NG ({_programs()})")
                for example in read_texts(read, langs, out):
                    ledger.read(name, direction(example.lang, example.tgt), example.task)
                    writer.add(example)
    write_exchanged(out / "test", out / "test_exchanged")
    return ledger


def _programs() -> str:
    return "; ".join(f"{program.domain}: {program.license}" for program in PROGRAMS)


def write_exchanged(source: Path, target: Path) -> None:
    """Write the ASR examples of ``source``, each with the recording of another of its language.

    It is that of the next longer one, so that lengths say as much as they do in ``source``.
    """
    examples, _ = DataDir.load(source)
    exchanged = []
    for lang in sorted({example.lang for example in examples}):
        own = [e for e in examples if TASKS[e.task].transcribes and e.lang == lang]
        own.sort(key=lambda example: (example.num_samples or 0, example.utt_id))
        if len(own) < 2:
            continue  # there is no other
        for example, other in zip(own, own[1:] + own[:1], strict=True):
            exchanged.append(
                dataclasses.replace(
                    example,
                    utt_id=f"{example.utt_id}-exchanged",
                    audio=other.audio,
                    num_samples=other.num_samples,
                )
            )
    DataDir.write(target, exchanged)


def read_language(lang: str, out: Path, downloads: Path, mirror: str) -> Recorded:
    """Fetch a language's packages and write its recordings as FLAC into ``out``/audio."""
    audio, transcripts = fetch_packages(lang, downloads, mirror)
    with ExitStack() as stack:
        recordings = find_recordings(lang, stack.enter_context(unpacked(audio)))
        text = read_transcripts(lang, stack.enter_context(unpacked(transcripts)))
        prompts = {prompt.id: prompt for prompt in read_prompts(text, recordings)}
        usable = [name for name, prompt in prompts.items() if not prompt.fault]
        wavs: dict[str, tuple[str, int]] = {}
        with open_bar(f"{lang}: recordings", len(usable), "prompts") as bar:
            for name in usable:
                path = (out / "audio" / lang / name.replace("/", "_")).with_suffix(".flac")
                wavs[name] = str(path.resolve()), write_flac(recordings[name], path)
                bar.update()
    return Recorded(prompts, wavs)


def write_flac(g722: Path, flac: Path) -> int:
    """Decode a G.722 recording at 64 kbit/s; return its number of samples at 16 kHz.

    Raises:
        DataError: PyAV is missing, or the recording is damaged.
    """
    import numpy as np
    import soundfile

    try:
        import av
    except ImportError:
        raise DataError(
            "PyAV is needed to decode G.722: tools/setup.sh --extras asterisk installs it"
        ) from None
    try:
        with av.open(str(g722), format="g722") as container:
            blocks = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{g722.name}: cannot be decoded: {error}") from None
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
    with atomic_write(flac, "wb") as file:
        soundfile.write(file, samples, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
    return len(samples)


def make_examples(
    lang: str,
    languages: Mapping[str, Recorded],
    name: str,
    split: Mapping[str, str],
    ledger: Ledger,
    beyond: Collection[str] = (),
) -> Iterator[Example]:
    """A language's examples in one split; the ledger is told what was read and what is left out.

    Args:
        beyond: prompts that are not wanted.
    """
    own = languages[lang]
    targets = [tgt for tgt in languages if tgt != lang and PIVOT in (lang, tgt)]
    for key, prompt in own.prompts.items():
        # what has a fault in every language is in no split, and told with the training data
        if split.get(key, "train") != name:
            continue
        utt = f"asterisk_{lang}_{key.replace('/', '_')}"
        ledger.read(name, lang, ASR.name)
        if prompt.fault:
            ledger.drop(name, lang, key, *prompt.fault, task=ASR.name)
            continue
        if key in beyond:
            ledger.drop(name, lang, key, _BEYOND, task=ASR.name)
            continue
        if prompt.cleaned:
            ledger.clean(name, lang, "directions to the speaker", ASR.name)
        wav, samples = own.wavs[key]
        speech: dict[str, Any] = {"audio": wav, "num_samples": samples, "spk": lang}
        too_long = samples > LONGEST * SAMPLE_RATE
        if too_long:
            ledger.drop(name, lang, key, _TOO_LONG, task=ASR.name)
        else:
            yield Example(f"{utt}-asr", ASR.name, lang, lang, prompt.text, **speech)
        for tgt in targets:
            text = languages[tgt].texts.get(key)
            texts_too = name != "test"
            tasks = [S2TT.name, T2TT.name] if texts_too else [S2TT.name]
            for task in tasks:
                ledger.read(name, direction(lang, tgt), task)
            if text is None:
                said = ",".join(tasks)
                ledger.drop(name, direction(lang, tgt), key, _NO_PROMPT, task=said)
                continue
            pair = (lang, tgt, text, prompt.text)
            if too_long:
                ledger.drop(name, direction(lang, tgt), key, _TOO_LONG, task=S2TT.name)
            else:
                yield Example(f"{utt}-s2tt-{tgt}", S2TT.name, *pair, **speech)
            if texts_too:
                yield Example(f"{utt}-t2tt-{tgt}", T2TT.name, *pair)


def get_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.corpora.asterisk.prepare",
        description="Makes data/train, data/dev and data/test of Asterisk's recorded prompts (2.2 h, "
        "one speaker a language): ASR, speech translation between English and each other language, "
        "text translation in train and dev. Prompts that are nearly alike in any language are in one "
        "split. What is left out is named with its reason in dropped.tsv.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--langs", default=" ".join(LANGUAGES), metavar="LIST", help="en and others of the five"
    )
    parser.add_argument("--out", type=Path, default=Path("data"), metavar="DIR", help="made in it")
    parser.add_argument(
        "--download_dir",
        type=Path,
        default=Path("downloads"),
        metavar="DIR",
        help="where the Debian packages lie, or are fetched to",
    )
    parser.add_argument(
        "--max_prompts", type=count, metavar="N", help="of each split, for a trial; by default all"
    )
    parser.add_argument(
        "--texts",
        type=int,
        default=0,
        metavar="N",
        help="messages of translated programs, read by eSpeak NG, to be trained on as well",
    )
    parser.add_argument("--mirror", default=MIRROR, metavar="URL", help="Debian mirror")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(cmd)
    langs = parse_languages(args.langs, LANGUAGES)
    if PIVOT not in langs or len(langs) < 2:
        raise ConfigError(
            f"--langs {args.langs}: must hold {PIVOT} and another of {' '.join(LANGUAGES)}"
        )
    if args.texts < 0:
        raise ConfigError(f"--texts must not be negative: {args.texts}")
    ledger = prepare(langs, args.out, args.download_dir, args.mirror, args.max_prompts, args.texts)
    print(ledger.summary())


if __name__ == "__main__":
    main()
