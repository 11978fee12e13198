"""How a server bears many clients: throughput, latency, and whether its memory grows.

    python tools/bench/serving.py exp/part --clients 8 --seconds 60 --lang de -- --batch_size 8

Starts part_serve with the model (and the options behind ``--``) on a port of its own, sends it
recordings of noise that goes up and down as speech does, each client one after the other, and ends
it. Each client sends recordings of its own, some of them at every turn, and checks that a recording
that it sends again gets the same text. One client in four hangs up on every second request.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000


def recording(seconds: float, seed: int) -> bytes:
    """FLAC of sentences of 2 to 8 s with pauses between them."""
    draw = np.random.default_rng(seed)
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < seconds * RATE:
        count = round(draw.uniform(2, 8) * RATE)
        syllables = 0.15 + 0.85 * np.abs(np.sin(np.pi * 5 * np.arange(count) / RATE))
        pieces += [0.1 * syllables * draw.standard_normal(count), np.zeros(RATE)]
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(pieces)[: round(seconds * RATE)], RATE, format="FLAC")
    return file.getvalue()


def request(lang: str, audio: bytes) -> tuple[bytes, dict[str, str]]:
    """A body and its headers."""
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="'
    fields = f'{head}language"\r\n\r\n{lang}\r\n{head}file"; filename="a.flac"\r\n\r\n'
    body = fields.encode() + audio + f"\r\n--{mark}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={mark}"}


class Client(threading.Thread):
    """Sends one request after the other until the time is up."""

    def __init__(self, number: int, port: int, end: float, options: argparse.Namespace) -> None:
        super().__init__()
        self.port, self.end, self.lang = port, end, options.lang
        self.hangs_up = number % 4 == 3
        draw = random.Random(number)
        lengths = [draw.uniform(*options.lengths) for _ in range(4)]
        self.recordings = [
            (length, recording(length, 100 * number + n)) for n, length in enumerate(lengths)
        ]
        self.latencies: list[float] = []
        self.audio = 0.0
        self.statuses: dict[int, int] = {}
        self.texts: dict[int, bytes] = {}
        self.different = 0

    def run(self) -> None:
        turn = 0
        while time.monotonic() < self.end:
            which = turn % len(self.recordings)
            turn += 1
            seconds, audio = self.recordings[which]
            body, headers = request(self.lang, audio)
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
            start = time.monotonic()
            connection.request("POST", "/v1/audio/transcriptions", body, headers)
            if self.hangs_up and turn % 2:
                time.sleep(0.05)
                connection.close()
                continue
            answer = connection.getresponse()
            text = answer.read()
            connection.close()
            self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            if answer.status == 200:
                self.latencies.append(time.monotonic() - start)
                self.audio += seconds
                self.different += self.texts.setdefault(which, text) != text
            elif answer.status == 429:
                time.sleep(min(5.0, float(answer.headers["Retry-After"])))


def memory(pid: int) -> float:
    """Megabytes that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def started(model: str, options: list[str]) -> tuple[subprocess.Popen[str], int]:
    """The server and its port, when the model is there."""
    words = [sys.executable, "-m", "espnet_part.bin.part_serve", model, "--port", "0", *options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"ready: .*:(\d+)/", line):
            # the pipe must not fill up
            threading.Thread(target=deque, args=(process.stderr, 0), daemon=True).start()
            return process, int(found[1])
    sys.exit("the server has ended")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--lang", default="en")
    parser.add_argument("--lengths", type=float, nargs=2, default=(5.0, 60.0), metavar="SECONDS")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:cut])
    process, port = started(options.model, words[cut + 1 :])
    end = time.monotonic() + options.seconds
    clients = [Client(n, port, end, options) for n in range(options.clients)]
    first = memory(process.pid)
    begun = time.monotonic()
    for client in clients:
        client.start()
    memories = []
    while any(client.is_alive() for client in clients):
        memories.append(memory(process.pid))
        time.sleep(1.0)
    wall = time.monotonic() - begun
    last = memory(process.pid)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    process.send_signal(signal.SIGTERM)
    code = process.wait(60)
    latencies = np.array([value for client in clients for value in client.latencies])
    count, total = (
        float(re.findall(rf"part_windows_at_once_{name} (\S+)", metrics)[0])
        for name in ("count", "sum")
    )
    statuses: dict[int, int] = {}
    for client in clients:
        for status, number in client.statuses.items():
            statuses[status] = statuses.get(status, 0) + number
    print(
        json.dumps(
            {
                "clients": len(clients),
                "seconds": round(wall, 1),
                "statuses": statuses,
                "answers a second": round(len(latencies) / wall, 2),
                "audio seconds a second": round(sum(c.audio for c in clients) / wall, 1),
                "latency p50, p90, p99": [
                    round(float(np.percentile(latencies, share)), 2) for share in (50, 90, 99)
                ],
                "windows a batch": round(total / count, 2),
                "texts that differ": sum(client.different for client in clients),
                "memory before, after a third, at the end": [
                    round(value) for value in (first, memories[len(memories) // 3], last)
                ],
                "exit status": code,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
