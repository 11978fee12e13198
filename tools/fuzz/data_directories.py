"""Damage data directories in every way that a table or an audio file may be, and read them.

    python -m tools.fuzz.data_directories --n 1000 --seed 1

Each one must give examples and named faults, or one line of an error: no traceback, no wait. What is
read must come out the same when it is written and read again, and all audio must be read or named.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import struct
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from espnet_part.corpora.combine import combine
from espnet_part.data.audio import BadAudio, read_audio
from espnet_part.data.datadir import DataDir, Example
from espnet_part.errors import UserError
from espnet_part.kaldi import read_counts, read_table
from tools.fuzz.cases import Count, read_options

TABLES = (
    "utt2task",
    "utt2lang",
    "utt2tgt",
    "text",
    "src_text",
    "wav.scp",
    "segments",
    "utt2num_samples",
    "utt2spk",
)
_PIECES = (
    b"\xef\xbb\xbf", b"\r\n", b"\n\n", b"\t", b" ", b"\x00", b"\xff\xfe", b"\xe2\x80\xa8", b"\xc2\xa0",
    b"\xe3\x80\x80", b"\xed\xa0\x80", b"\x1b[2J", b"9" * 5000, b"-1", b"1e999", b"nan", b" |", b"x.ark:",
    b".ark:99999999999999999999", b"eng", b"zh-CN", b"x" * (1 << 20), b"../", b"/dev/zero", b"u1",
)  # fmt: skip


def make(path: Path, draw: random.Random) -> None:
    """Write a small directory without faults with audio in several formats."""
    examples = []
    for number in range(6):
        audio = path / f"{number}.{draw.choice(('wav', 'flac', 'ogg', 'mp3'))}"
        audio.parent.mkdir(parents=True, exist_ok=True)
        wave = np.random.default_rng(number).standard_normal(3200).astype(np.float32) * 0.1
        soundfile.write(audio, wave, 16000)
        segment = (0.05, 0.15) if number == 5 else None
        examples.append(
            Example(
                f"u{number}", "asr", "de", "de", f"Satz {number}", None, str(audio), segment, 3200
            )
        )
    examples.append(Example("u7", "t2tt", "de", "en", "a text", "ein Text"))
    DataDir.write(path, examples)


def damage(path: Path, draw: random.Random) -> None:
    """Harm one file of a directory."""
    files = [file for file in sorted(path.iterdir()) if file.is_file()]
    file = draw.choice(files)
    content = file.read_bytes()
    at = draw.randrange(len(content) + 1)
    kind = draw.randrange(9)
    if kind == 0:
        file.write_bytes(content[:at])
    elif kind == 1 and content:
        flipped = bytearray(content)
        for _ in range(draw.randrange(1, 9)):
            flipped[draw.randrange(len(flipped))] = draw.randrange(256)
        file.write_bytes(flipped)
    elif kind <= 4:
        file.write_bytes(content[:at] + draw.choice(_PIECES) + content[at:])
    elif kind == 5:
        file.unlink()
        draw.choice((lambda: os.mkfifo(file), file.mkdir, lambda: file.symlink_to("/dev/zero")))()
    elif kind == 6:
        file.write_bytes(draw.randbytes(draw.randrange(3000)))
    elif kind == 7 and content[:4] == b"RIFF":
        length = draw.choice((0, 0xFFFFFFFF, 0x7FFFF000, 1 << 30))
        file.write_bytes(content[:40] + struct.pack("<I", length) + content[44:])
    else:
        lines = content.split(b"\n")
        draw.shuffle(lines)
        file.write_bytes(b"\n".join(lines + lines[:1]))


def read(path: Path) -> None:
    """Read a directory as the commands do."""
    for need_text in (True, False):
        examples, faults = DataDir.load(path, need_text=need_text)
        assert not {fault.utt_id for fault in faults} & {example.utt_id for example in examples}
    for example in examples:
        if example.audio is not None:
            try:
                assert np.isfinite(read_audio(example)).all()
            except BadAudio as error:
                assert str(error)
    for reader in (read_table, read_counts):
        for table in TABLES:
            try:
                reader(path / table)
            except UserError as error:
                assert "\n" not in str(error)
    with contextlib.suppress(UserError):
        combine([path], path.with_name("combined"))
    again = path.with_name("again")
    DataDir.write(again, examples)
    assert DataDir.load(again, need_text=False)[0] == sorted(examples, key=lambda e: e.utt_id)


def main() -> None:
    args = read_options(__doc__, 1000)
    count = Count()
    for number in range(args.n):
        draw = random.Random(f"{args.seed} {number}")
        with tempfile.TemporaryDirectory() as made:
            path = Path(made, "data")
            make(path, draw)
            for _ in range(draw.randrange(1, 4)):
                damage(path, draw)
            count.run(str(number), partial(read, path))
            shutil.rmtree(path, ignore_errors=True)
    count.finish()


if __name__ == "__main__":
    main()
