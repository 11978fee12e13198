"""Time and memory of turning Common Voice's tables into data directories.

    python tools/bench/corpora.py --clips 1700000 --dir /tmp/bench

makes one locale with real, empty clips (made once, and kept) and a table of as many lines, runs the
data preparation in a process of its own, and prints seconds and the peak of resident memory, that
of its children included.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

RELEASE = "cv-corpus-15.0-2023-09-08"
HEADER = (
    "client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents",
    "variant", "locale", "segment",
)  # fmt: skip
WORDS = (
    "die", "der", "und", "nicht", "dem", "für", "eine", "auf", "wie", "gegen", "über", "Jahr", "ist",
    "Straße", "Universität", "Geschichte", "Sprache", "häufig", "natürlich", '"Wort"', "später",
)  # fmt: skip


def make_corpus(root: Path, clips: int, seed: int = 0) -> Path:
    """Make a release with one locale, "de"; what is there already stays."""
    locale = root / RELEASE / "de"
    marker = root / f"made_{clips}"
    if marker.exists():
        return root / RELEASE
    shutil.rmtree(locale, ignore_errors=True)
    (locale / "clips").mkdir(parents=True)
    rng = random.Random(seed)
    speakers = [f"{rng.getrandbits(512):0128x}" for _ in range(max(1, clips // 60))]
    held_out = max(1, min(16000, clips // 100))
    for split, count in (("dev", held_out), ("test", held_out), ("train", clips)):
        with (locale / f"{split}.tsv").open("w", encoding="utf-8") as table:
            table.write("\t".join(HEADER) + "\n")
            for number in range(count):
                name = f"common_voice_de_{split}{number + 17000000}.mp3"
                sentence = " ".join(rng.choices(WORDS, k=rng.randint(4, 14))) + "."
                row = (rng.choice(speakers), name, sentence, "2", "0", "", "", "", "", "de", "")
                table.write("\t".join(row) + "\n")
                (locale / "clips" / name).touch()
    marker.touch()
    return root / RELEASE


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=1_700_000, help="(default: %(default)s)")
    parser.add_argument("--dir", type=Path, required=True, help="for the corpus and the data")
    args = parser.parse_args()
    began = time.perf_counter()
    corpus = make_corpus(args.dir, args.clips)
    print(f"corpus made in {time.perf_counter() - began:.1f} s", file=sys.stderr)

    out = args.dir / "data"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "espnet_part.corpora.commonvoice", "--langs", "de"]
    began = time.perf_counter()
    subprocess.run([*command, "--corpus_dir", str(corpus), "--out", str(out)], check=True)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # the largest of the processes, in KiB
    with (out / "train/text").open("rb") as file:
        lines = sum(1 for _ in file)
    print(
        json.dumps(
            {
                "clips": args.clips,
                "train_lines": lines,
                "seconds": round(seconds, 1),
                "peak_rss_mb": round(used.ru_maxrss / 1024),
                "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
