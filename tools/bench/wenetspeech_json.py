"""Time and memory of turning WenetSpeech's metadata into data directories.

    python tools/bench/wenetspeech_json.py --segments 2000000 --dir /tmp/bench

writes metadata in the form of the published ones, with an empty file for each long recording (made
once, and kept), runs the data preparation in a process of its own, and prints seconds and the peak
of resident memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PER_RECORDING = 150
TEXT = "怎么样这些日子住得还习惯吧"


def recording(number: int, segments: int, directory: str, subsets: list[str]) -> dict[str, Any]:
    """The metadata of one recording."""
    aid = f"Y{number:010d}_--5llN02F84"
    return {
        "aid": aid,
        "duration": segments * 3.1,
        "md5": "48af998ec7dab6964386c3522386fa4b",
        "path": f"audio/{directory}/B{number // 1000:05d}/{aid}.opus",
        "source": "youtube",
        "tags": ["drama"],
        "url": "https://www.youtube.com/watch?v=--5llN02F84",
        "segments": [
            {
                "sid": f"{aid}_S{n:05d}",
                "confidence": 1.0,
                "begin_time": round(n * 3.1, 2),
                "end_time": round(n * 3.1 + 2.9, 2),
                "subsets": subsets,
                "text": TEXT,
            }
            for n in range(segments)
        ],
    }


def make_corpus(root: Path, segments: int) -> Path:
    """Make the corpus; what is there already stays."""
    corpus = root / f"wenetspeech_{segments}"
    marker = corpus / "made"
    if marker.exists():
        return corpus
    shutil.rmtree(corpus, ignore_errors=True)
    plan = [(PER_RECORDING, "train/youtube", ["L", "M"])] * (segments // PER_RECORDING)
    plan += [(2, name.lower(), [name]) for name in ("DEV", "TEST_NET", "TEST_MEETING")]
    corpus.mkdir(parents=True)
    with (corpus / "WenetSpeech.json").open("w", encoding="utf-8") as file:
        file.write('{"dataset": "WenetSpeech", "language": "ZH", "version": "v1.0.0", "audios": [')
        for number, (count, directory, subsets) in enumerate(plan):
            entry = recording(number, count, directory, subsets)
            path = corpus / entry["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            file.write(
                (",\n" if number else "\n") + json.dumps(entry, ensure_ascii=False, indent=4)
            )
        file.write("]}\n")
    marker.touch()
    return corpus


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--segments", type=int, default=2_000_000, help="(default: %(default)s)")
    parser.add_argument("--dir", type=Path, required=True, help="for the corpus and the data")
    args = parser.parse_args()
    corpus = make_corpus(args.dir, args.segments)
    out = args.dir / "data"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "espnet_part.corpora.wenetspeech"]
    began = time.perf_counter()
    subprocess.run([*command, "--corpus_dir", str(corpus), "--out", str(out)], check=True)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (out / "train/text").open("rb") as file:
        lines = sum(1 for _ in file)
    print(
        json.dumps(
            {
                "metadata_mb": round((corpus / "WenetSpeech.json").stat().st_size / 1e6),
                "train_lines": lines,
                "seconds": round(seconds, 1),
                "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
                "peak_rss_mb": round(used.ru_maxrss / 1024),
            }
        )
    )


if __name__ == "__main__":
    main()
