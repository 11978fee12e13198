"""Hypotheses and references of ESPnet's decoding directories (asr1, st1, s2t1 and our own).

ESPnet's asr.sh, st.sh and s2t.sh leave in `<exp>/<inference_tag>/<test set>`:

- `logdir/output.N/1best_recog/text`, a shard a job, and `text`, the shards joined: lines
  "utterance-id text". s2t1's text begins with special tokens such as `<en><asr><notimestamps>`.
- `score_wer`, `score_cer`, `score_ter` with `ref.trn` and `hyp.trn`: lines "tokens<TAB>(spk-utt)",
  words, characters (a space is `<space>`) or SentencePiece pieces.
- `score_bleu` (st1) with `ref.trn.org` and `hyp.trn.org` in that form, `*.trn` without the ids
  and `*.trn.detok` detokenised, all three line by line the same utterances.

The scripts make a trn file by pasting text and ids side by side, line by line: one utterance
without a hypothesis shifts all that follow. So `text`, which carries its own ids, is what counts,
and a trn file is read only where there is nothing else, or where its ids agree with `text`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from espnet_part.errors import DataError
from espnet_part.inputs import read_text
from espnet_part.kaldi import read_table
from espnet_part.score.decoded import SHARDS, collect_failures, collect_hypotheses

_MARK = "\u2581"  # SentencePiece's mark of a word's beginning


def _words(tokens: str) -> str:
    return tokens


def _characters(tokens: str) -> str:
    return "".join(tokens.split()).replace("<space>", " ").strip()


def _pieces(tokens: str) -> str:
    return "".join(tokens.split()).replace(_MARK, " ").strip()


#: Where sclite's trn files are, best first, and how their tokens become text again.
_TRN: dict[str, Callable[[str], str]] = {
    "score_wer": _words,
    "score_cer": _characters,
    "score_ter": _pieces,
}


@dataclass
class Decoding:
    """What a decoding directory holds.

    Attributes:
        source: the file that the hypotheses come from, relative to the directory.
        references: by the id in the trn file, empty where there is none.
        notes: what a reader of the figures has to know.
    """

    directory: Path
    source: str
    hypotheses: dict[str, str]
    reference_source: str = ""
    references: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def is_test_set(directory: Path) -> bool:
    """Whether the directory holds the hypotheses of one test set."""
    names = ("text", "1best_recog/text", *(f"{name}/hyp.trn" for name in _TRN))
    return (
        any((directory / name).is_file() for name in (*names, "score_bleu/hyp.trn.org"))
        or next(directory.glob(SHARDS), None) is not None
    )


def find_test_set(directory: Path, name: str = "") -> Path:
    """The directory itself, or the one test set below it; of several, the one called ``name``.

    Raises:
        DataError: no hypotheses, or several test sets of which none is called so.
    """
    if is_test_set(directory):
        return directory
    found = [path for path in sorted(directory.iterdir()) if path.is_dir() and is_test_set(path)]
    if not found:
        raise DataError(
            f"{directory}: no hypotheses here nor one level below: neither text, {SHARDS} nor "
            "score_*/hyp.trn"
        )
    if len(found) == 1:
        return found[0]
    for path in found:
        if path.name == name:
            return path
    names = ", ".join(path.name for path in found)
    raise DataError(f"{directory}: holds several test sets ({names}); name one of them")


def read_decoding(directory: Path) -> Decoding:
    """Read one test set of a decoding directory.

    Raises:
        DataError: no hypotheses, a damaged file, an id given twice.
    """
    decoding = _hypotheses(directory)
    if (directory / "score_bleu/hyp.trn.org").is_file():
        _use_detokenised(decoding)
    _add_references(decoding)
    failed = collect_failures(directory)
    if failed:
        decoding.notes.append(f"{len(failed)} utterances could not be decoded (failed.tsv)")
    return decoding


def _hypotheses(directory: Path) -> Decoding:
    joined = directory / "text"
    shards = sorted(directory.glob(SHARDS))
    newest = max((path.stat().st_mtime for path in shards), default=0.0)
    if joined.is_file() and joined.stat().st_mtime >= newest:
        return Decoding(directory, "text", read_table(joined))
    if shards or (directory / "1best_recog/text").is_file():
        decoding = Decoding(directory, SHARDS, collect_hypotheses(directory))
        if joined.is_file():
            decoding.notes.append(f"text is older than {SHARDS}, which was read instead")
        return decoding
    for name, join in _TRN.items():
        path = directory / name / "hyp.trn"
        if path.is_file():
            found = {key: join(tokens) for key, tokens in read_trn(path).items()}
            decoding = Decoding(directory, f"{name}/hyp.trn", found)
            decoding.notes.append(f"no file text: hypotheses are those of {name}/hyp.trn")
            return decoding
    return Decoding(directory, "score_bleu/hyp.trn.org", read_trn(_bleu(directory, "hyp.trn.org")))


def _use_detokenised(decoding: Decoding) -> None:
    """Take st1's detokenised hypotheses, which its BLEU is counted on, where ids are certain."""
    if not _bleu(decoding.directory, "hyp.trn.detok").is_file():
        decoding.notes.append("score_bleu/hyp.trn.detok is absent: text may still be tokenised")
        return
    try:
        found = _read_detokenised(decoding.directory, "hyp")
    except DataError:
        found = {}
    renamed = match_trn_keys(found, decoding.hypotheses)
    if set(renamed) != set(decoding.hypotheses) or not _in_step(renamed, decoding.hypotheses):
        decoding.notes.append(
            f"score_bleu/hyp.trn.detok does not agree with {decoding.source} line by line and is "
            "not used: text may still be tokenised"
        )
        return
    decoding.hypotheses = renamed
    decoding.source = "score_bleu/hyp.trn.detok"


def _in_step(detokenised: dict[str, str], hypotheses: dict[str, str]) -> bool:
    """Whether each detokenised text is that of its id: their letters agree.

    The detokeniser also undoes Moses's escapes (`&apos;`), and decoding may have left special
    tokens, so a few differences are no sign of lines out of step.
    """
    differing = sum(
        _letters(text) != _letters(hypotheses[key]) for key, text in detokenised.items()
    )
    return differing <= 0.1 * len(detokenised)


def _letters(text: str) -> str:
    for escape in ("&apos;", "&quot;", "&amp;", "&#91;", "&#93;", "&#124;", "&lt;", "&gt;"):
        text = text.replace(escape, "")
    return "".join(character for character in text if character.isalnum())


def _add_references(decoding: Decoding) -> None:
    directory = decoding.directory
    if (directory / "score.json").is_file():
        return  # part_score's own: its trn files are normalised, and parted by unit
    if (directory / "score_bleu/ref.trn.org").is_file():
        if _bleu(directory, "ref.trn.detok").is_file():
            found = _read_detokenised(directory, "ref")
            decoding.reference_source = "score_bleu/ref.trn.detok"
        else:
            found = read_trn(_bleu(directory, "ref.trn.org"))
            decoding.reference_source = "score_bleu/ref.trn.org"
        more = sorted((directory / "score_bleu").glob("ref.trn.org.*"))
        if more:
            decoding.notes.append(f"{len(more)} further references in score_bleu are not used")
    else:
        for name, join in _TRN.items():
            path = directory / name / "ref.trn"
            if path.is_file():
                found = {key: join(tokens) for key, tokens in read_trn(path).items()}
                decoding.reference_source = f"{name}/ref.trn"
                break
        else:
            return
    decoding.references = match_trn_keys(found, decoding.hypotheses)


def _read_detokenised(directory: Path, side: str) -> dict[str, str]:
    """The detokenised lines by the ids of the `.org` file beside them."""
    detokenised = _bleu(directory, f"{side}.trn.detok")
    keys = list(read_trn(_bleu(directory, f"{side}.trn.org")))
    lines = _read_lines(detokenised)
    if len(keys) != len(lines):
        raise DataError(f"{detokenised}: {len(lines)} lines, but {side}.trn.org has {len(keys)}")
    return dict(zip(keys, (line.strip() for line in lines), strict=True))


def _bleu(directory: Path, name: str) -> Path:
    return directory / "score_bleu" / name


def read_trn(path: Path) -> dict[str, str]:
    """Read sclite's lines "tokens (key)" in their order; ESPnet's key is "speaker-utterance".

    Raises:
        DataError: a line without its key, a key given twice, or the file cannot be read.
    """
    table: dict[str, str] = {}
    for number, line in enumerate(_read_lines(path), 1):
        line = line.rstrip()
        if not line:
            continue
        # a tab parts text and key where ESPnet wrote the line, and the text may hold brackets
        text, tab, key = line.rpartition("\t")
        if not tab:
            text, _, key = line.rpartition("(")
            key = f"({key}"
        if not (key.startswith("(") and key.endswith(")") and len(key) > 2):
            raise DataError(f"{path}: line {number}: no (speaker-utterance) at the end")
        if key[1:-1] in table:
            raise DataError(f"{path}: line {number}: the id {key[1:-1]} is given twice")
        table[key[1:-1]] = text.strip()
    return table


def match_trn_keys(table: dict[str, str], utterances: dict[str, str]) -> dict[str, str]:
    """Replace keys "speaker-utterance" by the utterance, where exactly one of the given ids fits.

    An id fits where it is the key, or what follows one of the key's hyphens. Other keys stay.
    """
    renamed = {}
    for key, text in table.items():
        tails = [key, *(key[place + 1 :] for place, sign in enumerate(key) if sign == "-")]
        fitting = [tail for tail in tails if tail in utterances]
        renamed[fitting[0] if len(fitting) == 1 else key] = text
    return renamed


def _read_lines(path: Path) -> list[str]:
    # a text may hold other line separators of Unicode than the line feed
    lines = read_text(path).split("\n")
    return lines[:-1] if lines and not lines[-1] else lines
