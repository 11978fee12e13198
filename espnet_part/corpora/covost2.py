"""CoVoST 2, joined with Common Voice, as data directories for ASR, S2TT and T2TT.

    python -m espnet_part.corpora.covost2 --covost2_dir covost2 --commonvoice_dir cv-corpus-4

writes ``train``, ``dev`` and ``test`` (the official splits) with all directions in each. The tables of
CoVoST 2 hold a clip's name and its translation; sentence and audio are those of Common Voice 4.
A later release has lost some clips: they are counted by direction and named in ``dropped.tsv``.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from espnet_part.command import HelpFormatter, command
from espnet_part.corpora.clips import NameSet, clip_stem, list_directory
from espnet_part.corpora.commonvoice import LICENSE, clean_sentence, find_clip, speaker
from espnet_part.corpora.commonvoice_release import UNKNOWN_RELEASE, Locale, find_locales
from espnet_part.corpora.covost2_join import Clip, join
from espnet_part.corpora.covost2_tables import (
    DIRECTIONS,
    Direction,
    directions_among,
    find_table,
    parse_directions,
)
from espnet_part.corpora.languages import PART_LANGUAGES, parse_languages, parse_tasks
from espnet_part.corpora.ledger import Ledger
from espnet_part.corpora.tsv import read_tsv
from espnet_part.corpora.writer import DirectoryWriter
from espnet_part.data.datadir import Example
from espnet_part.errors import ConfigError, DataError
from espnet_part.tasks import ASR, S2TT, T2TT, TASKS

PRODUCED = (ASR.name, S2TT.name, T2TT.name)
SPLITS = ("train", "dev", "test")
#: Clips of the test set, by source language.
OFFICIAL_TEST = {
    "en": 15531, "fr": 14760, "de": 13511, "es": 13221, "it": 8951, "ru": 6300, "zh": 4898,
    "ja": 684,
}  # fmt: skip


def prepare(
    directions: Sequence[Direction],
    covost2_dir: str | Path,
    commonvoice_dir: str | Path,
    out: str | Path,
    tasks: Collection[str] = PRODUCED,
    test_tasks: Collection[str] = (ASR.name, S2TT.name),
    unpack_dir: str | Path | None = None,
    held_out_dir: str | Path | None = None,
) -> Ledger:
    """Write the data directories of all splits.

    Args:
        directions: what is translated into what.
        covost2_dir: the tables (see `find_table`).
        commonvoice_dir: release 4, or a later one (see `find_locales`).
        out: the directory above ``train``, ``dev`` and ``test``.
        tasks: of training and validation.
        test_tasks: of the test set, so far as they are among ``tasks``.
        unpack_dir: where archives are unpacked; default: beside them.
        held_out_dir: another release of Common Voice; training clips that are in its dev or test
            sets are left out.

    Raises:
        DataError: a table or a locale is missing; not one example of a split is left.
    """
    tables = {direction: find_table(covost2_dir, direction, unpack_dir) for direction in directions}
    missing = [direction.table for direction, table in tables.items() if table is None]
    if missing:
        raise DataError(
            f"{covost2_dir}: no {', '.join(missing)} (nor .tar.gz of it); choose with --langs or"
            " --directions, or get them from https://github.com/facebookresearch/covost"
        )
    sources = tuple(dict.fromkeys(direction.source for direction in directions))
    locales = find_locales(commonvoice_dir, sources, unpack_dir)
    held_out = _held_out(held_out_dir, sources, unpack_dir)
    tasks_of = {split: tuple(tasks) for split in SPLITS}
    tasks_of["test"] = tuple(task for task in tasks if task in test_tasks)
    release = ", ".join(dict.fromkeys(locale.release for locale in locales))
    ledger = Ledger("CoVoST 2", f"on {release}", LICENSE, _official(directions, tasks_of))
    if not release.startswith(("cv-corpus-4", UNKNOWN_RELEASE)):
        ledger.note(
            f"CoVoST 2 was made on Common Voice 4 and is joined with {release}: clips that this"
            ' release has lost are counted as "not in validated.tsv"; where the test set has such,'
            " scores are not those of the whole test set"
        )
    translation_tasks = [name for name in tasks if TASKS[name].writes == "other"]
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(DirectoryWriter(Path(out) / split, ledger))
            for split in SPLITS
        }
        for locale in locales:
            own = {d: t for d, t in tables.items() if t is not None and d.source == locale.name}
            clips = list_directory(locale.directory / "clips")
            unwanted = held_out.get(locale.name, NameSet(()))
            for clip in join(locale, own, Path(out) / ".join.tmp", ledger, translation_tasks):
                for split, example in convert(clip, locale, clips, tasks_of, unwanted, ledger):
                    writers[split].add(example)
    return ledger


def convert(
    clip: Clip,
    locale: Locale,
    clips: NameSet,
    tasks_of: dict[str, tuple[str, ...]],
    held_out: NameSet,
    ledger: Ledger,
) -> Iterator[tuple[str, Example]]:
    """Yield (split, example) of one clip: one of ASR, and S2TT and T2TT for each direction.

    Args:
        clips: names in the locale's ``clips``.
        tasks_of: tasks by split.
        held_out: clips that must not be trained on (see `clip_stem`).
    """
    lang = locale.lang
    name, lost = find_clip(clip.path, clips)
    if clip.sentence is None:
        lost = "not in validated.tsv"
    sentence, changes = clean_sentence(clip.sentence or "")
    stem = name.removesuffix(".mp3")
    audio, spk = f"{locale.directory}/clips/{name}", speaker(clip.client)

    # the splits of a clip are the same in all directions; were they not, the text of a test clip
    # would not be trained on
    split = max((split for _, split, _ in clip.translations), key=SPLITS.index)
    unwanted = "held out in Common Voice" if clip.path in held_out else ""
    if ASR.name in tasks_of[split]:
        ledger.read(split, lang, ASR.name)
        reason = lost or (unwanted if split == "train" else "")
        if reason or not sentence:
            ledger.drop(split, lang, name, reason or "empty sentence")
        else:
            for change in changes:
                ledger.clean(split, lang, change)
            utt = f"covost2_{lang}_{stem}-asr"
            yield split, Example(utt, ASR.name, lang, lang, sentence, audio=audio, spk=spk)

    for direction, split, translation in clip.translations:
        key, tgt = str(direction), direction.tgt
        # BLEU counts quotes: the references of the test set stay as everybody scores them
        text, changes = clean_sentence(translation, quotes=split != "test")
        wrong = lost if clip.sentence is None else unwanted if split == "train" else ""
        wrong = wrong or _wrong_translation(text)
        for task in tasks_of[split]:
            reads = TASKS[task]
            if reads.writes != "other":
                continue
            ledger.read(split, key, task)
            reason = wrong
            if reads.speech:
                reason = reason or lost
            elif not sentence:
                reason = reason or "empty sentence"
            if reason:
                ledger.drop(split, key, name, reason, "", task)
                continue
            for change in changes:
                ledger.clean(split, key, change, task)
            utt = f"covost2_{lang}_{stem}-{task}-{tgt}"
            source = sentence or None
            if reads.speech:
                yield split, Example(utt, task, lang, tgt, text, source, audio, spk=spk)
            else:
                yield split, Example(utt, task, lang, tgt, text, source)


def _wrong_translation(text: str) -> str:
    if not text:
        return "empty translation"
    return "REMOVE in the translation" if "REMOVE" in text else ""


def _official(
    directions: Sequence[Direction], tasks_of: dict[str, tuple[str, ...]]
) -> dict[tuple[str, str, str], int]:
    counts = {}
    for direction in directions:
        for task in tasks_of["test"]:
            if direction.lang in OFFICIAL_TEST:
                key = str(direction) if TASKS[task].writes == "other" else direction.lang
                counts["test", key, task] = OFFICIAL_TEST[direction.lang]
    return counts


def _held_out(
    directory: str | Path | None, locales: Sequence[str], unpack_dir: str | Path | None
) -> dict[str, NameSet]:
    """Clips of the dev and test sets of a release (see `clip_stem`), by locale."""
    if not directory:
        return {}
    return {
        locale.name: NameSet(
            clip_stem(path)
            for split in ("dev", "test")
            for (path,) in read_tsv(
                locale.directory / f"{split}.tsv", None, ("path",), lambda *line: None
            )
        )
        for locale in find_locales(directory, locales, unpack_dir)
    }


def get_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.corpora.covost2",
        description="Make data directories (train, dev, test; ASR, S2TT, T2TT) of CoVoST 2.",
        epilog="""\
layout:
  COVOST2_DIR/covost_v2.SRC_TGT.tsv (or in a directory SRC, TGT or SRC_TGT; or .tsv.tar.gz), from
  https://github.com/facebookresearch/covost (CC0), and Common Voice, COMMONVOICE_DIR/LOCALE/
  {clips/*.mp3,validated.tsv}: release 4, on which CoVoST 2 was made, or a later one, of which the
  lost clips are counted.
directions:
  21 into English (fr de es ca it ru zh pt fa et mn nl tr ar sv lv sl ta ja id cy) and 15 from it
  (de tr fa sv mn zh cy ca sl et id ar ta lv ja); ko and yue have none. zh is zh-CN, sv is sv-SE.
example:
  python -m espnet_part.corpora.covost2 --covost2_dir /data/covost2 \\
      --commonvoice_dir /data/cv-corpus-4-2019-12-10 --directions fr-en,en-de""",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--covost2_dir", required=True, help="the tables")
    parser.add_argument("--commonvoice_dir", required=True, help="a release of Common Voice")
    parser.add_argument("--out", type=Path, default=Path("data"), help="(default: %(default)s)")
    parser.add_argument(
        "--langs",
        default=",".join(PART_LANGUAGES),
        help="languages; the directions among them are taken (default: PART's ten, %(default)s)",
    )
    parser.add_argument("--directions", default="", help="in place of --langs, e.g. fr-en,en-zh")
    parser.add_argument(
        "--tasks", default=",".join(PRODUCED), help="of training and validation (%(default)s)"
    )
    parser.add_argument("--test_tasks", default="asr,s2tt", help="of the test set (%(default)s)")
    parser.add_argument("--unpack_dir", help="where archives are unpacked (default: beside them)")
    parser.add_argument(
        "--held_out_dir",
        help="another release of Common Voice; training clips that are in its dev or test sets are"
        " left out (for training on CoVoST 2 and testing on that release)",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(cmd)
    for name in ("covost2_dir", "commonvoice_dir"):
        if not getattr(args, name):
            raise ConfigError(f"--{name} is empty: it must name a directory")
    if args.directions:
        directions = parse_directions(args.directions)
    else:
        known = {code for d in DIRECTIONS for code in (d.lang, d.tgt)}.union(PART_LANGUAGES)
        directions = directions_among(parse_languages(args.langs, known))
        if not directions:
            raise ConfigError(f"CoVoST 2 has no direction among {args.langs}; see --help")
    ledger = prepare(
        directions,
        args.covost2_dir,
        args.commonvoice_dir,
        args.out,
        parse_tasks(args.tasks, PRODUCED),
        parse_tasks(args.test_tasks, PRODUCED),
        args.unpack_dir,
        args.held_out_dir,
    )
    print(ledger.summary())


if __name__ == "__main__":
    main()
