"""Common Voice, any release, as data directories for ASR.

    python -m espnet_part.corpora.commonvoice --corpus_dir cv-corpus-15.0-2023-09-08 --out data

writes ``train``, ``dev`` and ``test`` (the release's own splits) with all languages in each, and in
each ``dropped.tsv``, ``corpus.json`` and ``corpus.md``. Audio is referenced where it lies; whether it
can be read is found when it is formatted.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from espnet_part.command import HelpFormatter, command, str2bool
from espnet_part.corpora.clips import NameSet, clip_stem, list_directory
from espnet_part.corpora.commonvoice_release import Locale, find_locales, parse_locales
from espnet_part.corpora.covost2_tables import held_out_clips
from espnet_part.corpora.languages import PART_LANGUAGES, parse_tasks
from espnet_part.corpora.ledger import Ledger
from espnet_part.corpora.tsv import read_tsv
from espnet_part.corpora.writer import DirectoryWriter
from espnet_part.data.datadir import Example
from espnet_part.data.text import clean_spaces
from espnet_part.errors import ConfigError
from espnet_part.progress import counted
from espnet_part.tasks import ASR

LICENSE = "CC0-1.0"
SPLITS = ("train", "dev", "test")
#: Clips of the three splits in cv-corpus-15.0-2023-09-08, by locale.
OFFICIAL = {
    "cv-corpus-15.0-2023-09-08": {
        "zh-CN": (29396, 10625, 10625),
        "zh-HK": (8426, 5593, 5593),
        "en": (1070066, 16386, 16386),
        "ja": (7105, 4978, 4978),
        "ko": (279, 213, 228),
        "yue": (3074, 2562, 2565),
        "de": (567993, 16167, 16167),
        "fr": (527554, 16132, 16132),
        "ru": (26328, 10195, 10196),
        "es": (311392, 15796, 15796),
        "it": (166503, 15127, 15127),
    }
}


def prepare(
    locales: Sequence[Locale],
    out: str | Path,
    covost2_dir: str | Path | None = None,
    keep_covost2_overlap: bool = False,
    unpack_dir: str | Path | None = None,
) -> Ledger:
    """Write the data directories of all splits.

    Args:
        locales: what `find_locales` found.
        out: the directory above ``train``, ``dev`` and ``test``.
        covost2_dir: CoVoST 2's tables; clips of its dev and test sets are left out of training.
        keep_covost2_overlap: leave them in.
        unpack_dir: where archives of these tables are unpacked; default: beside them.

    Raises:
        DataError: a table or ``clips`` is missing, or not one clip of a split is left.
    """
    releases = dict.fromkeys(locale.release for locale in locales)
    ledger = Ledger("Common Voice", ", ".join(releases), LICENSE, official_counts(locales))
    held_out = _held_out(locales, covost2_dir, unpack_dir, keep_covost2_overlap, ledger)
    listings = {locale.name: list_directory(locale.directory / "clips") for locale in locales}
    for split in SPLITS:
        with DirectoryWriter(Path(out) / split, ledger) as writer:
            for locale in locales:
                unwanted = held_out.get(locale.name, frozenset()) if split == "train" else ()
                for example in read_split(locale, split, listings[locale.name], ledger, unwanted):
                    writer.add(example)
    return ledger


def read_split(
    locale: Locale,
    split: str,
    clips: NameSet,
    ledger: Ledger,
    held_out: Collection[str] = (),
) -> Iterator[Example]:
    """Yield the usable clips of one split of one locale; the others are dropped with a reason."""
    lang = locale.lang
    table = locale.directory / f"{split}.tsv"
    ledger.read(split, lang, ASR.name, 0)  # a split without clips is named, too

    def bad_line(number: int, reason: str, detail: str) -> None:
        ledger.read(split, lang, ASR.name)
        ledger.drop(split, lang, f"{locale.name}/{table.name}:{number}", reason, detail)

    rows = read_tsv(table, None, ("path", "sentence"), bad_line, optional=("client_id",))
    for path, sentence, client in counted(rows, f"{locale.name} {split}"):
        ledger.read(split, lang, ASR.name)
        path, reason = find_clip(path, clips)
        text, changes = clean_sentence(sentence)
        if not reason and not text:
            reason = "empty sentence"
        if not reason and held_out and clip_stem(path) in held_out:
            reason = "held out in CoVoST 2"
        if reason:
            ledger.drop(split, lang, path or f"{table.name}: {sentence}", reason)
            continue
        for change in changes:
            ledger.clean(split, lang, change)
        yield Example(
            f"cv_{lang}_{path.rpartition('.')[0]}-asr",
            ASR.name,
            lang,
            lang,
            text,
            audio=f"{locale.directory}/clips/{path}",
            spk=speaker(client),
        )


def find_clip(path: str, clips: NameSet) -> tuple[str, str]:
    """The clip's file name, and why it cannot be used (empty where it can)."""
    name = path.strip()
    if name not in clips:
        if not name:
            return "", "no clip named"
        name += "" if name.endswith(".mp3") else ".mp3"  # the first releases leave it out
        if name not in clips:
            return name, "missing clip"
    return name, "" if name.split() == [name] else "space in the clip's name"


def clean_sentence(sentence: str, quotes: bool = True) -> tuple[str, list[str]]:
    """Mend spaces and, with ``quotes``, quotes that are not the sentence's own.

    A quote at one end without its partner is a mistake of the table; quotes around the whole are
    a table program's (it doubles those inside).

    Returns:
        The sentence and what was done to it.
    """
    # nothing invisible and no strange space is printable: nearly every line is done with this
    plain = sentence.isprintable() and "  " not in sentence
    text = sentence.strip() if plain else clean_spaces(sentence)
    changes = [] if text == sentence else ["spaces"]
    if quotes and '"' in text:
        bare = _without_stray_quotes(text)
        if bare != text:
            changes.append("quotes")
            text = bare
    return text, changes


def _without_stray_quotes(text: str) -> str:
    inner = text[1:-1].replace('""', "")
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in inner:
        return text[1:-1].replace('""', '"').strip()
    if text.count('"') == 1 and '"' in (text[0], text[-1]):
        return text.strip('"').strip()
    return text


def speaker(client_id: str) -> str | None:
    """A short name of a speaker: the first 64 bits of a hash of Common Voice's (128 characters)."""
    client_id = client_id.strip()
    if not client_id:
        return None
    return "cv_" + hashlib.blake2b(client_id.encode(), digest_size=8).hexdigest()


def official_counts(locales: Sequence[Locale]) -> dict[tuple[str, str, str], int]:
    """What the release says it has, where we know it; locales of one language are added up."""
    counts: dict[tuple[str, str, str], int] = {}
    for locale in locales:
        known = OFFICIAL.get(locale.release, {})
        for split, count in zip(SPLITS, known.get(locale.name, ()), strict=False):
            key = (split, locale.lang, ASR.name)
            counts[key] = counts.get(key, 0) + count
    return counts


def _held_out(
    locales: Sequence[Locale],
    covost2_dir: str | Path | None,
    unpack_dir: str | Path | None,
    keep: bool,
    ledger: Ledger,
) -> dict[str, frozenset[str]]:
    if keep:
        ledger.note("training clips that CoVoST 2 tests on are kept (--keep_covost2_overlap)")
        return {}
    if not covost2_dir:
        ledger.note(
            "training may hold clips of CoVoST 2's dev and test sets: the overlap was not checked"
            " (before evaluating on it, give CoVoST 2's tables: COVOST2=DIR ./run.sh …, or"
            " --covost2_dir DIR)"
        )
        return {}
    held_out = held_out_clips(covost2_dir, [locale.name for locale in locales], unpack_dir)
    without = [name for name, clips in held_out.items() if not clips]
    if without:
        ledger.note(
            f"{covost2_dir} has no tables from {', '.join(without)}: nothing of these was left out"
        )
    return held_out


def get_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.corpora.commonvoice",
        description="Make data directories (train, dev, test; ASR) of Common Voice, any release.",
        epilog="""\
layout:
  CORPUS_DIR/LOCALE/{clips/*.mp3,train.tsv,dev.tsv,test.tsv}, where CORPUS_DIR is a release's
  directory (cv-corpus-15.0-2023-09-08) or the one above it; or the archives, LOCALE.tar.gz or
  cv-corpus-15.0-2023-09-08-LOCALE.tar.gz. From https://commonvoice.mozilla.org/datasets (CC0).
languages:
  zh is the locale zh-CN, sv is sv-SE, yue is yue; a locale may be given as such: zh-TW (zh),
  zh-HK (Cantonese, so yue), sv-SE.
example:
  python -m espnet_part.corpora.commonvoice --corpus_dir /data/cv-corpus-15.0-2023-09-08 \\
      --langs de,fr --covost2_dir /data/covost2""",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--corpus_dir", required=True, help="the release's directory")
    parser.add_argument("--out", type=Path, default=Path("data"), help="(default: %(default)s)")
    parser.add_argument(
        "--langs",
        default=",".join(PART_LANGUAGES),
        help="languages or locales (default: PART's ten, %(default)s)",
    )
    parser.add_argument("--tasks", default=ASR.name, help="asr is all there is (%(default)s)")
    parser.add_argument("--unpack_dir", help="where archives are unpacked (default: beside them)")
    parser.add_argument(
        "--covost2_dir",
        help="CoVoST 2's tables; clips of its dev and test sets are left out of training",
    )
    parser.add_argument(
        "--keep_covost2_overlap",
        type=str2bool,
        default=False,
        help="true: train on those clips all the same (default: false)",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(cmd)
    if not args.corpus_dir:
        raise ConfigError("--corpus_dir is empty: it must be the directory of a release")
    parse_tasks(args.tasks, (ASR.name,))
    locales = find_locales(args.corpus_dir, parse_locales(args.langs), args.unpack_dir)
    ledger = prepare(
        locales, args.out, args.covost2_dir, args.keep_covost2_overlap, args.unpack_dir
    )
    print(ledger.summary())


if __name__ == "__main__":
    main()
