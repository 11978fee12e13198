"""FLEURS in its exact layout, a few sentences small, with the faults that it is known to have."""

from __future__ import annotations

import tarfile
from pathlib import Path

from tests.recipes.tiny import write_clip

Row = tuple[str, str, str, int | None]

SECONDS = 0.4
SAMPLES = 6400

# id, file, raw_transcription, num_samples; None: no clip. The seven columns are made of them.
GERMAN_TRAIN: list[Row] = [
    ("1", "101.wav", 'Er sagte: "Guten Tag!', SAMPLES),  # a quote that nothing closes
    ("1", "102.wav", 'Er sagte: "Guten Tag!', SAMPLES),  # another recording of the sentence
    ("2", "103.wav", "Das\u00a0ist\u2009ein\u200b Hund.", SAMPLES),
    ("3", "104.wav", "Diese Aufnahme ist abgeschnitten.", 5 * SAMPLES),
    ("4", "105.wav", "Diese Aufnahme fehlt.", None),
    ("5", "106.wav", "\u00a0", SAMPLES),
    ("99", "107.wav", "Diesen Satz hat nur das Deutsche.", SAMPLES),
    ("6", "108.wav", "Auch hier steht etwas.", SAMPLES),
    ("6", "108.wav", "Auch hier steht etwas.", SAMPLES),  # the row comes twice
]
ENGLISH_TRAIN: list[Row] = [
    ("1", "201.wav", 'He said: "Good day!', SAMPLES),
    ("2", "202.wav", "This is a dog.", SAMPLES),
    ("2", "203.wav", "This is a dog!", SAMPLES),  # not what the other recording says
    ("3", "204.wav", "This recording is cut off.", SAMPLES),
    ("4", "205.wav", "This recording is missing.", SAMPLES),
    ("5", "206.wav", "This is empty in German.", SAMPLES),
    ("6", "207.wav", "Here is something, too.", SAMPLES),
]
FRENCH_TRAIN: list[Row] = [
    ("1", "301.wav", "Il a dit\u202f: «\u00a0Bonjour\u00a0!\u00a0»", SAMPLES)
]
TABLES: dict[str, dict[str, list[Row]]] = {
    "de_de": {
        "train": GERMAN_TRAIN,
        "dev": [("11", "111.wav", "Ein Satz zur Probe.", SAMPLES)],
        "test": [
            ("21", "121.wav", "Ein Satz zum Prüfen.", SAMPLES),
            ("22", "122.wav", "Auch dieser ist kürzer.", 2 * SAMPLES),
        ],
    },
    "en_us": {
        "train": ENGLISH_TRAIN,
        "dev": [("11", "211.wav", "A sentence for practice.", SAMPLES)],
        "test": [
            ("21", "221.wav", "A sentence for the test.", SAMPLES),
            ("22", "222.wav", "This one, too, is shorter.", SAMPLES),
        ],
    },
    "fr_fr": {
        "train": FRENCH_TRAIN,
        "dev": [("11", "311.wav", "Une phrase pour essayer.", SAMPLES)],
        "test": [("21", "321.wav", "Une phrase pour l'examen.", SAMPLES)],
    },
}


def row(sentence: str, clip: str, raw: str, samples: int | None) -> str:
    plain = "".join(c for c in raw.lower() if c.isalnum() or c == " ")
    spelt = " | ".join(plain)
    fields = (sentence, clip, raw, plain, spelt, str(samples or SAMPLES), "FEMALE")
    return "\t".join(fields) + "\n"


def write_fleurs(root: Path) -> Path:
    """Write the corpus; French is there as archives, as it is published."""
    for code, splits in TABLES.items():
        for split, rows in splits.items():
            table = root / code / f"{split}.tsv"
            table.parent.mkdir(parents=True, exist_ok=True)
            content = "".join(row(*fields) for fields in rows)
            if (code, split) == ("de_de", "train"):
                content += "7\t109.wav\tzu wenige Spalten\n"
            table.write_text(content, encoding="utf-8")
            clips = root / code / "audio" / split
            clips.mkdir(parents=True)
            for number, (_, clip, _, samples) in enumerate(rows):
                if samples is not None:
                    write_clip(clips / clip, SECONDS, seed=number)
            if code == "fr_fr":
                with tarfile.open(f"{clips}.tar.gz", "w:gz") as archive:
                    archive.add(clips, split)
                for path in clips.iterdir():
                    path.unlink()
                clips.rmdir()
    return root
