"""WenetSpeech in its exact layout, a few recordings small, with the faults that it can have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.recipes.tiny import write_clip

TEXT = "怎么样这些日子住得还习惯吧"
LML = ["L", "M"]


def segment(
    sid: str, begin: Any, end: Any, text: Any = TEXT, subsets: list[str] | None = None
) -> dict[str, Any]:
    times = {"confidence": 1.0, "begin_time": begin, "end_time": end}
    return {"sid": sid, **times, "subsets": LML if subsets is None else subsets, "text": text}


def recording(
    aid: str, directory: str, duration: float, segments: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "aid": aid,
        "duration": duration,
        "md5": "d41d8cd98f00b204e9800998ecf8427e",
        "path": f"audio/{directory}/{aid}.opus",
        "source": "youtube",
        "tags": ["drama"],
        "url": "https://example.org/watch",
        "segments": segments,
    }


SHORT, LONG, LOST, CUT = "Y0001_-ab", "Y0002_cd", "Y0003_ef", "Y0004_gh"
AUDIOS: list[Any] = [
    # 4 s long, and the metadata say 3
    recording(
        SHORT,
        "train/youtube/B00000",
        3.0,
        [
            segment(f"{SHORT}_S00000", 0.0, 1.0, subsets=["L", "M", "S"]),
            segment(f"{SHORT}_S00001", 1.0, 2.25),
            segment(f"{SHORT}_S00002", 2.25, 3.5),  # the file has it
            segment(f"{SHORT}_S00003", 3.5, 4.25),  # ends just behind the file
            segment(f"{SHORT}_S00004", 3.0, 6.0),
            segment(f"{SHORT}_S00005", 5.0, 5.5),
            segment(f"{SHORT}_S00006", 2.0, 1.0),
            segment(f"{SHORT}_S00007", 1.0, 1.0),
            segment(f"{SHORT}_S00008", -1.0, 1.0),
            segment(f"{SHORT}_S00009", "eins", 1.0),
            segment(f"{SHORT}_S00010", 0.0, 1.0, "\u3000"),
            segment(f"{SHORT}_S00011", 0.0, 1.0, None),
            segment(f"{SHORT}_S00012", 0.0, 1.0, "怎么样<UNK>吧"),
            segment(f"{SHORT}_S00013", 0.0, 1.0, "他\u00a0说\u3000OK"),
            segment(f"{SHORT}_S00001", 1.0, 2.25, "又来了"),  # the id comes twice
            segment(f"{SHORT}_S00014", 0.0, 1.0, subsets=["L"]),
            segment(f"{SHORT}_S00015", 0.0, 1.0, subsets=["W"]),
            segment(f"{SHORT} S00016", 0.0, 1.0),
        ],
    ),
    # 2 s long, and the metadata say 10
    recording(
        LONG,
        "train/podcast/B00001",
        10.0,
        [segment(f"{LONG}_S00000", 0.5, 1.5), segment(f"{LONG}_S00001", 4.0, 5.0)],
    ),
    recording(LOST, "train/youtube/B00000", 5.0, [segment(f"{LOST}_S00000", 0.0, 1.0)]),
    recording(CUT, "train/youtube/B00000", 4.0, [segment(f"{CUT}_S00000", 0.0, 1.0)]),
    {"aid": "Y0005_ij", "segments": []},  # no path
    recording(
        "DEV_T0001",
        "dev",
        2.0,
        [segment(f"DEV_T0001_S{n:05d}", n, n + 1.0, subsets=["DEV"]) for n in range(2)],
    ),
    recording(
        "TEST_NET_Y0001",
        "test_net",
        2.0,
        [
            segment("TEST_NET_Y0001_S00000", 0.0, 1.0, "他说<UNK>你好", ["TEST_NET"]),
            segment("TEST_NET_Y0001_S00001", 1.0, 2.0, "<SIL> [NOISE]", ["TEST_NET"]),
            segment("TEST_NET_Y0001_S00002", 1.0, 2.0, "a < b [见附录]", ["TEST_NET"]),
        ],
    ),
    recording(
        "TEST_MEETING_T0001",
        "test_meeting",
        2.0,
        [segment("TEST_MEETING_T0001_S00000", 0.25, 1.75, subsets=["TEST_MEETING"])],
    ),
]
SECONDS = {SHORT: 4.0, LOST: None}  # of the files, where they are not 2 s long


def write_wenetspeech(root: Path) -> Path:
    """Write the corpus."""
    for entry in AUDIOS:
        aid = entry["aid"]
        seconds = SECONDS.get(aid, 2.0)
        if "path" not in entry:
            continue
        path = root / entry["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if seconds is not None:
            write_clip(path, seconds, seed=len(aid))
        if aid == CUT:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    metadata = {"dataset": "WenetSpeech", "language": "ZH", "version": "v1.0.0", "audios": AUDIOS}
    content = json.dumps(metadata, indent=4, ensure_ascii=False)
    (root / "WenetSpeech.json").write_text(content, encoding="utf-8")
    return root
