"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from espnet_part.sample_rate import SAMPLE_RATE

_LATENCIES = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts of one server."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "part_requests", "Requests by outcome", ["endpoint", "status"], registry=registry
        )
        self._latency = Histogram(
            "part_request_seconds",
            "From a request's first byte to the end of its answer",
            ["endpoint"],
            buckets=_LATENCIES,
            registry=registry,
        )
        self._audio = Counter("part_audio_seconds", "Audio that was heard", registry=registry)
        self._at_once = Histogram(
            "part_windows_at_once",
            "Windows decoded at once, at each one's end",
            buckets=_SIZES,
            registry=registry,
        )
        self._speech = Counter(
            "part_window_seconds",
            "Speech that was decoded: audio without silences",
            registry=registry,
        )
        self._busy = Counter("part_decode_seconds", "Time of the model", registry=registry)

    def watch(self, waiting: Callable[[], int], clients: Callable[[], int]) -> None:
        """Ask these whenever somebody looks."""
        queue = Gauge("part_queue_windows", "Windows that wait", registry=self._registry)
        queue.set_function(waiting)
        active = Gauge("part_active_requests", "Files and streams at work", registry=self._registry)
        active.set_function(clients)

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """A request is over; 499 where the client hung up."""
        self._requests.labels(endpoint, str(status)).inc()
        self._latency.labels(endpoint).observe(seconds)

    def audio(self, seconds: float) -> None:
        self._audio.inc(seconds)

    def window(self, at_once: int, samples: int, seconds: float) -> None:
        """A window is decoded, so many seconds after the one before."""
        self._at_once.observe(at_once)
        self._speech.inc(samples / SAMPLE_RATE)
        self._busy.inc(seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus' text form."""
        return generate_latest(self._registry)
