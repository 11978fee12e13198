"""Time and memory of turning the tables of Common Voice and CoVoST 2 into data directories.

    python tools/bench/corpora.py --clips 1700000 --dir /tmp/bench

makes one locale with real, empty clips (made once, and kept) and a table of as many lines, and CoVoST
2's three directions out of English within PART with a fifth of these clips each; runs each data
preparation in a process of its own; and prints seconds and the peak of resident memory, that of
children included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
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


def make_covost(root: Path, corpus: Path, clips: int) -> Path:
    """Make tables from "en", which has the clips and sentences of "de" here; return their directory."""
    tables = root / "covost2"
    if not (corpus / "en").exists():
        (corpus / "en").symlink_to("de")
    validated = corpus / "en" / "validated.tsv"
    shutil.copyfile(corpus / "de" / "train.tsv", validated)
    tables.mkdir(exist_ok=True)
    for target in ("de", "zh-CN", "ja"):
        with (tables / f"covost_v2.en_{target}.tsv").open("w", encoding="utf-8") as table:
            table.write("path\ttranslation\tsplit\n")
            for number in range(0, clips, 5):
                split = "test" if number < 15000 * 5 else "dev" if number < 30000 * 5 else "train"
                name = f"common_voice_de_train{number + 17000000}.mp3"
                table.write(f"{name}\tEin übersetzter Satz {number}, nicht kurz.\t{split}\n")
    return tables


def measure(name: str, module: str, out: Path, *options: str) -> dict[str, object]:
    """Run one data preparation; its memory is asked of the system when it has ended."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", f"espnet_part.corpora.{module}", *options, "--out", str(out)]
    began = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        sys.exit(f"{name} failed")
    with (out / "train/utt2task").open("rb") as file:
        lines = sum(1 for _ in file)
    return {
        "corpus": name,
        "train_lines": lines,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_rss_mb": round(used.ru_maxrss / 1024),  # neither preparation has children
    }


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
    tables = make_covost(args.dir, corpus, args.clips)
    print(f"corpora made in {time.perf_counter() - began:.1f} s", file=sys.stderr)
    common_voice = ("--corpus_dir", str(corpus), "--langs", "de")
    covost = ("--covost2_dir", str(tables), "--commonvoice_dir", str(corpus), "--directions")
    results = [
        measure("Common Voice", "commonvoice", args.dir / "data", *common_voice),
        measure("CoVoST 2", "covost2", args.dir / "data", *covost, "en-de,en-zh,en-ja"),
    ]
    for result in results:
        print(json.dumps({"clips": args.clips, **result}))


if __name__ == "__main__":
    main()
