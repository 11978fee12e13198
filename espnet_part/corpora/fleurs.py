"""FLEURS: n-way parallel read speech in 102 languages (https://arxiv.org/abs/2205.12446).

    python -m espnet_part.corpora.fleurs --corpus_dir /corpora/fleurs --langs de,en,fr --out data

writes ``train``, ``dev`` and ``test``: ASR of every language, S2TT by joining two languages on the
sentence id within a split, and in ``train`` T2TT, one example for each sentence that both have.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_part.command import HelpFormatter, command, count
from espnet_part.corpora.fleurs_layout import (
    CODE_OF,
    OFFICIAL,
    SPLITS,
    TEXT_COLUMNS,
    Language,
    Row,
    compare_lengths,
    find_audio,
    find_languages,
    read_language,
)
from espnet_part.corpora.languages import (
    PART_LANGUAGES,
    parse_languages,
    parse_tasks,
    split_words,
)
from espnet_part.corpora.ledger import Ledger
from espnet_part.corpora.writer import DirectoryWriter, direction
from espnet_part.data.datadir import Example
from espnet_part.errors import ConfigError
from espnet_part.tasks import ASR, S2TT, T2TT

PIVOT = "en"
PRODUCED = (ASR.name, S2TT.name, T2TT.name)
_UNTRANSLATED = "sentence missing in the other language"
_DISPUTED = "several texts of one sentence, the first is taken"


@dataclass(frozen=True)
class Options:
    """What is prepared.

    Attributes:
        corpus_dir: see `fleurs_layout`; the languages may lie in its directory ``data``.
        langs: languages of ASR.
        directions: (language heard, language written) of S2TT and T2TT.
        tasks: of `PRODUCED`.
        text_column: a key of `TEXT_COLUMNS`.
        unpack_dir: where audio archives are unpacked; None: beside them.
        nj: processes that read the headers of audio files.
    """

    corpus_dir: Path
    langs: tuple[str, ...] = PART_LANGUAGES
    directions: tuple[tuple[str, str], ...] = ()
    tasks: tuple[str, ...] = PRODUCED
    text_column: str = "raw"
    unpack_dir: Path | None = None
    nj: int = 4


def parse_directions(text: str, langs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read a list of translation directions.

    Args:
        text: ``en`` (from and into English), ``all`` (every pair of ``langs``), or pairs such as
            ``de-fr``, whose languages need not be in ``langs``; several with commas or spaces.

    Raises:
        ConfigError: something else, or a language that FLEURS has not.
    """
    found: dict[tuple[str, str], None] = {}
    for word in split_words(text):
        if word in ("all", PIVOT):
            pairs = [(a, b) for a in langs for b in langs if a != b]
            found.update(dict.fromkeys(p for p in pairs if word == "all" or PIVOT in p))
            continue
        heard, dash, written = word.partition("-")
        if not dash or heard == written:
            raise ConfigError(f"--directions {word!r}: must be `en`, `all` or a pair such as de-fr")
        parse_languages(f"{heard} {written}", CODE_OF)
        found[heard, written] = None
    return tuple(found)


def prepare(options: Options, out: Path) -> Ledger:
    """Write ``train``, ``dev`` and ``test`` into ``out``.

    Raises:
        DataError: a language's table or audio is missing or cannot be read.
    """
    column = TEXT_COLUMNS[options.text_column]
    ledger = Ledger("FLEURS", license="CC-BY-4.0", official=OFFICIAL)
    ledger.notes.append(f"text: {column}")
    heard = set(options.langs) if ASR.name in options.tasks else set()
    if S2TT.name in options.tasks:
        heard |= {source for source, _ in options.directions}
    every = dict.fromkeys((*options.langs, *(lang for pair in options.directions for lang in pair)))
    places = find_languages(options.corpus_dir, every)
    audio = {
        (lang, split): find_audio(places[lang], split, options.unpack_dir)
        for lang in every
        if lang in heard
        for split in SPLITS
    }
    for split in SPLITS:
        languages = {
            lang: read_language(place, split, audio.get((lang, split)), column)
            for lang, place in places.items()
        }
        compare_lengths(languages, options.nj, f"{split}: lengths of clips")
        with DirectoryWriter(out / split, ledger) as writer:
            for example in make_examples(languages, split, options, ledger):
                writer.add(example)
    return ledger


def make_examples(
    languages: Mapping[str, Language], split: str, options: Options, ledger: Ledger
) -> Iterator[Example]:
    """The examples of a split; the ledger is told what was read and what is left out."""
    for lang, language in languages.items():
        targets = [tgt for source, tgt in options.directions if source == lang]
        spoken = targets if S2TT.name in options.tasks else []
        transcribed = ASR.name in options.tasks and lang in options.langs
        if split != "train":
            _note_mismatches(language, lang, split, ledger)
        for row in language.rows if transcribed or spoken else ():
            yield from _speech(row, languages, (lang, split), transcribed, spoken, ledger)
        if split == "train" and T2TT.name in options.tasks:
            for tgt in targets:
                yield from _texts(language, languages[tgt], (lang, tgt, split), ledger)


def _speech(
    row: Row,
    languages: Mapping[str, Language],
    where: tuple[str, str],
    transcribed: bool,
    targets: Sequence[str],
    ledger: Ledger,
) -> Iterator[Example]:
    """What one recording is used for."""
    lang, split = where
    fault = row.fault
    if split == "train" and row.mismatch and not fault:
        fault = ("clip not as long as the table says", row.mismatch)
    name = f"fleurs_{lang}_{split}_{Path(row.clip).stem}"
    if transcribed:
        ledger.read(split, lang, ASR.name)
        if fault:
            ledger.drop(split, lang, row.clip, *fault, task=ASR.name)
        else:
            if row.cleaned:
                ledger.clean(split, lang, "odd spaces", ASR.name)
            yield Example(f"{name}-asr", ASR.name, lang, lang, row.text, audio=row.wav)
    for tgt in targets:
        pair = direction(lang, tgt)
        ledger.read(split, pair, S2TT.name)
        text = languages[tgt].sentences.get(row.sentence)
        if fault or text is None:
            reason, detail = fault or (_UNTRANSLATED, f"sentence {row.sentence}")
            ledger.drop(split, pair, row.clip, reason, detail, S2TT.name)
            continue
        if row.sentence in languages[tgt].disputed:
            ledger.clean(split, pair, _DISPUTED, S2TT.name)
        yield Example(f"{name}-s2tt-{tgt}", S2TT.name, lang, tgt, text, row.text, row.wav)


def _texts(
    source: Language, target: Language, where: tuple[str, str, str], ledger: Ledger
) -> Iterator[Example]:
    """Text translation: one example for each sentence that both languages have."""
    lang, tgt, split = where
    pair = direction(lang, tgt)
    for sentence, text in source.sentences.items():
        ledger.read(split, pair, T2TT.name)
        translation = target.sentences.get(sentence)
        if translation is None:
            ledger.drop(split, pair, f"sentence {sentence}", _UNTRANSLATED, task=T2TT.name)
            continue
        if sentence in source.disputed or sentence in target.disputed:
            ledger.clean(split, pair, _DISPUTED, T2TT.name)
        utt = f"fleurs_{lang}_{split}_sentence{sentence}-t2tt-{tgt}"
        yield Example(utt, T2TT.name, lang, tgt, translation, text)


def _note_mismatches(language: Language, lang: str, split: str, ledger: Ledger) -> None:
    clips = [f"{row.clip} ({row.mismatch})" for row in language.rows if row.mismatch]
    if clips:
        more = f" and {len(clips) - 10} more" if len(clips) > 10 else ""
        ledger.note(
            f"{split}, {lang}: clips that are not as long as the table says stay, since a benchmark"
            f" is scored whole: {', '.join(clips[:10])}{more}"
        )


def get_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.corpora.fleurs",
        description="Makes data/train, data/dev and data/test of FLEURS: ASR, speech translation "
        "(two languages joined on the sentence id within a split) and, in train, text translation. "
        "What is left out is named with its reason in dropped.tsv; corpus.md has the totals beside "
        "the official ones. Clips whose length is not the table's are left out of train.",
        epilog="example: python -m espnet_part.corpora.fleurs --corpus_dir /corpora/fleurs "
        "--langs de,en,fr --directions de-en,en-de,de-fr --out data",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--corpus_dir",
        required=True,
        type=Path,
        metavar="DIR",
        help="holds CODE/{train,dev,test}.tsv and CODE/audio/{train,dev,test}/*.wav or .tar.gz, "
        "CODE being FLEURS' name of a language, such as de_de",
    )
    parser.add_argument("--out", type=Path, default=Path("data"), metavar="DIR", help="made in it")
    parser.add_argument(
        "--langs",
        default=",".join(PART_LANGUAGES),
        metavar="LIST",
        help="languages of ASR: the first part of FLEURS' name (af_za is af), and zh for cmn_hans_cn",
    )
    parser.add_argument(
        "--tasks", default=",".join(PRODUCED), metavar="LIST", help=" ".join(PRODUCED)
    )
    parser.add_argument(
        "--directions",
        default=PIVOT,
        metavar="LIST",
        help="translation: en (from and into English), all (every pair of --langs), or pairs such "
        "as de-fr",
    )
    parser.add_argument(
        "--text_column",
        choices=tuple(TEXT_COLUMNS),
        default="raw",
        help="raw: raw_transcription, with case and punctuation, for all tasks (BLEU counts both; "
        "error rates are computed on normalised text); transcription: lower case, unpunctuated",
    )
    parser.add_argument(
        "--unpack_dir",
        type=Path,
        metavar="DIR",
        help="where audio archives are unpacked that have not been; beside them when not given",
    )
    parser.add_argument(
        "--nj", type=count, default=4, help="processes that compare lengths of clips"
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(cmd)
    if not args.corpus_dir.is_dir():
        raise ConfigError(f"--corpus_dir {args.corpus_dir}: no such directory")
    tasks = parse_tasks(args.tasks, PRODUCED)
    langs = parse_languages(args.langs, CODE_OF)
    directions: tuple[tuple[str, str], ...] = ()
    if set(tasks) != {ASR.name}:
        directions = parse_directions(args.directions, langs)
        if not directions:
            raise ConfigError(
                f"--directions {args.directions}: no pair among --langs {args.langs};"
                " name pairs such as de-fr, add en, or give --tasks asr"
            )
    unpack_dir = args.unpack_dir.resolve() if args.unpack_dir is not None else None
    ledger = prepare(
        Options(
            args.corpus_dir.resolve(),
            langs,
            directions,
            tasks,
            args.text_column,
            unpack_dir,
            args.nj,
        ),
        args.out,
    )
    print(ledger.summary())


if __name__ == "__main__":
    main()
