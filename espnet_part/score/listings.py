"""Files to look at: transcripts for NIST's sclite, and the outputs that look hallucinated.

With sclite anybody can count the errors again. The layout is ESPnet's, ``score_wer/{ref,hyp}.trn``
and ``score_cer/{ref,hyp}.trn``. A line is ``words<tab>(language-utterance)``, so that sclite's table
by speaker is one by language:

    sclite -e utf-8 -i rm -r score_wer/ref.trn trn -h score_wer/hyp.trn trn -o all stdout

The text is normalised. Sclite gives braces, slashes and the like a meaning of its own, so with the
normaliser "none" its counts can differ from ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from espnet_part.files import atomic_write
from espnet_part.score.counting import Measured
from espnet_part.score.hallucination import SIGNS
from espnet_part.score.normalizers import drop_spaces
from espnet_part.score.references import GroupKey
from espnet_part.tasks import pair_label

_DIRECTORIES = {"word": "score_wer", "character": "score_cer"}


def write_trn(out_dir: Path, measured: Mapping[GroupKey, Measured]) -> list[Path]:
    """Write the transcripts of all recognition, each language in all its units.

    Returns:
        The files written; none for a unit that nothing is counted in.
    """
    written = []
    for unit, directory in _DIRECTORIES.items():
        groups = {key[2]: group for key, group in measured.items() if unit in group.errors}
        for side in ("ref", "hyp") if groups else ():
            path = out_dir / directory / f"{side}.trn"
            with atomic_write(path) as file:
                for language, group in groups.items():
                    texts = group.references if side == "ref" else group.hypotheses
                    for utterance, text in zip(group.utterances, texts, strict=True):
                        words = text if unit == "word" else " ".join(drop_spaces(text))
                        file.write(f"{words}\t({language}-{utterance})\n")
            written.append(path)
    return written


def write_suspects(path: Path, measured: Mapping[GroupKey, Measured]) -> None:
    """List the outputs with signs of hallucination, with what they were compared with."""
    with atomic_write(path) as file:
        file.write("utterance\ttask\tlanguage\tsigns\treference\thypothesis\n")
        for (task, source, target), group in measured.items():
            language = pair_label(source, target)
            for number in np.flatnonzero(group.signs.any(axis=1)):
                signs = ",".join(SIGNS[column] for column in np.flatnonzero(group.signs[number]))
                texts = (group.references[number], group.hypotheses[number])
                shown = (" ".join(text.split()) for text in texts)
                row = (group.utterances[number], task, language, signs, *shown)
                file.write("\t".join(row) + "\n")
