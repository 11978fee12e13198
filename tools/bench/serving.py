"""How a server bears many clients: throughput, latency, memory over time, and whether each answer is the
one that is given to it alone.

    python tools/bench/serving.py tiny --clients 32 --seconds 600 -- --batch_size 8 --max_tokens_per_second 8
    python tools/bench/serving.py exp/part --audio dump/raw/test --lang de --clients 32 --seconds 600

Starts part_serve with the model (`tiny` is one of random weights) and the options behind ``--`` on a port
of its own, sends it each recording alone, then those of all clients at once until the time is up, and
ends it. Of eight clients, five ask for JSON, one for events, one is a microphone (a WebSocket), and one
hangs up on every second request. Ends with status 1 where an answer differs, one is an error, or the
server does not end as it should.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import io
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000
FRAME = 3200  # bytes: a tenth of a second
KINDS = ("json", "json", "json", "json", "json", "events", "microphone", "hangs up")


@dataclass(frozen=True)
class Recording:
    """Samples (n,) int16 at 16 kHz, and the FLAC of them."""

    samples: np.ndarray
    flac: bytes

    @classmethod
    def of(cls, samples: np.ndarray) -> Recording:
        file = io.BytesIO()
        soundfile.write(file, samples, RATE, format="FLAC", subtype="PCM_16")
        return cls(samples, file.getvalue())

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE


def noise(seconds: float, seed: int) -> Recording:
    """Sentences of 2 to 8 s that go up and down as speech does, with pauses between them."""
    draw = np.random.default_rng(seed)
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < seconds * RATE:
        count = round(draw.uniform(2, 8) * RATE)
        syllables = 0.15 + 0.85 * np.abs(np.sin(np.pi * 5 * np.arange(count) / RATE))
        pieces += [0.1 * syllables * draw.standard_normal(count), np.zeros(RATE)]
    samples = np.concatenate(pieces)[: round(seconds * RATE)]
    return Recording.of((32767 * samples.clip(-1, 1)).astype(np.int16))


def speech(folder: Path, count: int) -> list[Recording]:
    """The first audio files of a directory."""
    from espnet_part.decode.audio_file import find_audio, read_blocks

    found = []
    for path, _ in find_audio([folder])[0][:count]:
        samples = np.concatenate(list(read_blocks(path)))
        found.append(Recording.of((32767 * samples.clip(-1, 1)).astype(np.int16)))
    return found


class Refused(Exception):
    """An answer other than text; of 429, after how many seconds to come again."""

    def __init__(self, status: int, body: str, after: float = 0.0):
        super().__init__(f"{status} {body[:200]}")
        self.status, self.after = status, after


@dataclass(frozen=True)
class Server:
    """One that runs, and what it is asked for."""

    port: int
    lang: str

    def ask(self, kind: str, recording: Recording) -> str:
        """The text of a recording, by one of `KINDS`; "" where the client hangs up."""
        if kind == "microphone":
            return self._speak(recording)
        mark = uuid.uuid4().hex
        fields = {"language": self.lang, "stream": "true" if kind == "events" else "false"}
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
        body = b"".join(parts) + head.encode() + recording.flac + f"\r\n--{mark}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=900)
        ) as connection:
            connection.request("POST", "/v1/audio/transcriptions", body, headers)
            if kind == "hangs up":
                time.sleep(0.05)
                return ""
            answer = connection.getresponse()
            said = answer.read().decode()
            if answer.status != 200:
                after = float(answer.headers.get("Retry-After", 0))
                raise Refused(answer.status, said, after)
        last = json.loads(said.rsplit("\ndata: ", 1)[-1])
        if "text" not in last:
            raise Refused(500, said[-200:])
        return str(last["text"])

    def _speak(self, recording: Recording) -> str:
        with connect(f"ws://127.0.0.1:{self.port}/v1/audio/stream", close_timeout=60) as stream:
            stream.send(json.dumps({"type": "start", "language": self.lang}))
            message = json.loads(stream.recv(timeout=900))
            if message["type"] == "ready":
                pcm = recording.samples.astype("<i2").tobytes()
                for at in range(0, len(pcm), FRAME):
                    stream.send(pcm[at : at + FRAME])
                stream.send(json.dumps({"type": "stop"}))
            while message["type"] not in ("done", "error"):
                message = json.loads(stream.recv(timeout=900))
        if message["type"] == "error":
            busy = message["error"]["code"] == "busy"
            raise Refused(429 if busy else 500, message["error"]["message"], 1.0)
        return str(message["text"])

    def metrics(self) -> str:
        """What Prometheus is told."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        ) as connection:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()


@dataclass(frozen=True)
class Answer:
    """One that was waited for."""

    kind: str
    seconds: float
    audio: float
    same: bool


class Load:
    """Many clients at once, each of which sends one recording after the other.

    Args:
        recordings: of all clients.
        clients: how many.

    Attributes:
        answers: texts that came.
        refused: errors, and how often.
        different: (kind, alone, together) of the first texts that differ.
    """

    def __init__(self, server: Server, recordings: Sequence[Recording], clients: int):
        self.server, self.recordings, self.clients = server, recordings, clients
        self.answers: list[Answer] = []
        self.refused: collections.Counter[str] = collections.Counter()
        self.hung_up = 0
        self.different: list[tuple[str, str, str]] = []
        self._alone: dict[bool, list[str]] = {}
        for spoken in {KINDS[n % len(KINDS)] == "microphone" for n in range(clients)}:
            kind = "microphone" if spoken else "json"
            self._alone[spoken] = [server.ask(kind, each) for each in recordings]

    def run(self, seconds: float) -> Iterator[float]:
        """Yield about once a second how long it has lasted, until all have their last answer."""
        begun = time.monotonic()
        threads = [
            threading.Thread(target=self._client, args=(number, begun + seconds), daemon=True)
            for number in range(self.clients)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            yield time.monotonic() - begun
            time.sleep(1.0)

    def _client(self, number: int, end: float) -> None:
        kind, draw = KINDS[number % len(KINDS)], random.Random(number)
        while time.monotonic() < end:
            which = draw.randrange(len(self.recordings))
            try:
                if kind == "hangs up":
                    self.server.ask(kind, self.recordings[which])
                    self.hung_up += 1
                self._ask("json" if kind == "hangs up" else kind, which)
            except Refused as error:
                self.refused[str(error)] += 1
                time.sleep(min(5.0, error.after))
            except Exception as error:  # a broken connection, say
                self.refused[f"{type(error).__name__}: {error}"[:200]] += 1
                time.sleep(0.5)

    def _ask(self, kind: str, which: int) -> None:
        start = time.monotonic()
        text = self.server.ask(kind, self.recordings[which])
        seconds = time.monotonic() - start
        alone = self._alone[kind == "microphone"][which]
        self.answers.append(Answer(kind, seconds, self.recordings[which].seconds, text == alone))
        if text != alone and len(self.different) < 5:
            self.different.append((kind, alone, text))

    def summary(self, seconds: float) -> dict[str, Any]:
        """What to print of it."""
        latencies = {
            kind: np.array([a.seconds for a in self.answers if a.kind == kind])
            for kind in dict.fromkeys(KINDS[:-1])
        }
        return {
            "answers": len(self.answers),
            "answers that differ from the one given alone": sum(not a.same for a in self.answers),
            "different": self.different,
            "errors": dict(self.refused),
            "hung up": self.hung_up,
            "answers a second": round(len(self.answers) / seconds, 2),
            "audio seconds a second": round(sum(a.audio for a in self.answers) / seconds, 1),
            "latency p50, p90, p99, most": {
                kind: [round(float(v), 2) for v in np.percentile(found, (50, 90, 99, 100))]
                for kind, found in latencies.items()
                if len(found)
            },
        }


def started(model: str, options: list[str]) -> tuple[subprocess.Popen[str], int]:
    """The server and its port, when the model is there."""
    words = [sys.executable, "-m", "espnet_part.bin.part_serve", model, "--port", "0", *options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said: collections.deque[str] = collections.deque(maxlen=20)
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"ready: .*:(\d+)/", line):
            # the pipe must not fill up
            rest = (process.stderr, 0)
            threading.Thread(target=collections.deque, args=rest, daemon=True).start()
            return process, int(found[1])
    sys.exit(f"the server has ended: {''.join(said)}")


@dataclass(frozen=True)
class State:
    """Of a process: megabytes that it holds, its threads, open files, and seconds of CPU so far."""

    memory: float
    threads: int
    files: int
    cpu: float

    @classmethod
    def of(cls, pid: int) -> State:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        memory, threads = (
            int(re.findall(rf"^{key}:\s+(\d+)", status, re.M)[0]) for key in ("VmRSS", "Threads")
        )
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return cls(memory / 1024, threads, len([*Path(f"/proc/{pid}/fd").iterdir()]), cpu)


def growth(times: Sequence[float], memories: Sequence[float]) -> float:
    """Megabytes a minute by which the memory grows in the second half of the time."""
    half = len(times) // 2
    if len(times) - half < 2:
        return 0.0
    return float(60 * np.polyfit(times[half:], memories[half:], 1)[0])


def machine() -> str:
    """What it runs on."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = re.findall(r"^model name\s*:\s*(.*)$", info, re.M)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} x {name[0] if name else platform.machine()}, load {load}"


@contextlib.contextmanager
def model_of(name: str) -> Iterator[str]:
    """A model's path; `tiny` is made."""
    if name != "tiny":
        yield name
        return
    sys.path.insert(0, str(ROOT))
    from tests.decode.conftest import make_exp

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        make_exp(path, strata=[("asr", lang, lang) for lang in ("de", "en")])
        (path / "model.safetensors").rename(path / "valid.acc.ave.safetensors")
        yield folder


def main(words: list[str]) -> int:
    cut = words.index("--") if "--" in words else len(words)
    options = _parser().parse_args(words[:cut])
    if options.audio is None:
        shortest, longest = options.lengths
        lengths = np.random.default_rng(0).uniform(shortest, longest, options.recordings)
        recordings = [noise(length, seed) for seed, length in enumerate(lengths)]
    else:
        recordings = speech(options.audio, options.recordings)
    print(f"before: {machine()}", flush=True)
    with model_of(options.model) as model:
        process, port = started(model, words[cut + 1 :])
        begun = time.monotonic()
        load = Load(Server(port, options.lang), recordings, options.clients)
        print(f"{len(recordings)} recordings alone: {time.monotonic() - begun:.0f} s", flush=True)
        first = state = State.of(process.pid)
        lasted, shown, times, memories = 0.0, -options.every, [], []
        for lasted in load.run(options.seconds):
            state = State.of(process.pid)
            times.append(lasted)
            memories.append(state.memory)
            if lasted >= shown + options.every:
                shown = lasted
                print(
                    f"{lasted:6.0f} s: {state.memory:6.0f} MB, {state.threads:3} threads, "
                    f"{state.files:3} files, {len(load.answers):6} answers",
                    flush=True,
                )
        time.sleep(2.0)
        last = State.of(process.pid)
        metrics = load.server.metrics()
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
    count, total = (
        float(re.findall(rf"part_windows_at_once_{name} (\S+)", metrics)[0])
        for name in ("count", "sum")
    )
    audio = sum(answer.audio for answer in load.answers)
    found = {
        "clients": options.clients,
        "seconds": round(lasted, 1),
        **load.summary(lasted),
        "audio seconds a second of CPU": round(audio / max(0.01, last.cpu - first.cpu), 2),
        "windows at once": round(total / max(1.0, count), 2),
        "memory (MB) before, most, after": [
            round(value) for value in (first.memory, max(memories), last.memory)
        ],
        "memory grows in the second half by (MB a minute)": round(growth(times, memories), 2),
        "threads before, after": [first.threads, last.threads],
        "files before, after": [first.files, last.files],
        "exit status": code,
    }
    print(f"after: {machine()}")
    for what, value in found.items():
        print(f"{what}: {json.dumps(value, ensure_ascii=False)}")
    return int(bool(load.refused) or not all(answer.same for answer in load.answers) or code != 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="as part_serve takes it, or `tiny`")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--lang", default="en", help="that is spoken; empty to have it detected")
    parser.add_argument(
        "--audio", type=Path, metavar="DIR", help="recordings; by default noise that is like speech"
    )
    parser.add_argument("--recordings", type=int, default=24, help="how many different ones")
    parser.add_argument("--lengths", type=float, nargs=2, default=(5.0, 60.0), metavar="SECONDS")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two lines")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
