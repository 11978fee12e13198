"""Speech for the embedded corpus: eSpeak NG in a subprocess, voices, noise, 16 kHz.

The same calls in the same order in a fresh `Synthesizer` give the same samples bit for bit; the
same sentence said twice by one `Synthesizer` may not (eSpeak NG keeps a state between sentences).
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from espnet_part.errors import DataError
from espnet_part.sample_rate import SAMPLE_RATE

MEND = "install it with `pip install 'espnet_part[mini]'` (or `pip install espeakng-loader`)"

# eSpeak NG's name of each language
VOICE_NAMES = {
    "en": "en-us", "de": "de", "es": "es", "fr": "fr", "it": "it", "zh": "cmn", "pt": "pt-br",
    "ru": "ru",
}  # fmt: skip
# Variants of one vocal tract each. Test and dev have two voices of training and two of their own.
TRAIN_VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m7", "f1", "f2", "f4", "f5", "Andy", "Annie",
)  # fmt: skip
ENCODER_VARIANTS = (*TRAIN_VARIANTS, "Alex", "Denis", "Mario", "Michael")
DEV_VARIANTS = ("m3", "f1", "m8", "Gene")
TEST_VARIANTS = ("m1", "f2", "m6", "f3")


@dataclass(frozen=True)
class Delivery:
    """How a sentence is said: who (`variant`), words a minute, eSpeak's 0-100 scales, dB."""

    variant: str
    rate: int
    pitch: int
    range: int
    snr: float
    gain: float

    @classmethod
    def draw(cls, rng: random.Random, variant: str) -> Delivery:
        """Draw everything but the voice."""
        return cls(
            variant=variant,
            rate=rng.randint(160, 210),
            pitch=rng.randint(35, 65),
            range=rng.randint(30, 70),
            snr=round(rng.uniform(18, 35), 1),
            gain=round(rng.uniform(-9, -3), 1),
        )


class Synthesizer:
    """One eSpeak NG process; use it as a context manager.

    Raises:
        DataError: eSpeak NG is not installed or does not start; the message says the mend.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-m", "espnet_part.corpora.mini.espeak"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            greeting = self._reply()
        except DataError as error:
            self.close()
            raise DataError(f"the speech synthesiser eSpeak NG: {error}; {MEND}") from None
        self._sample_rate: int = greeting["rate"]
        self._filter = _resampling_filter(self._sample_rate)

    def __enter__(self) -> Synthesizer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()

    def say(self, text: str, language: str, delivery: Delivery, noise_seed: int) -> np.ndarray:
        """Say a text.

        Returns:
            int16 samples (T,) at 16 kHz with white noise at `delivery.snr`, peak at `delivery.gain`
            dB of full scale.

        Raises:
            DataError: unknown voice, or no sound came back.
        """
        request = {
            "text": text,
            "voice": f"{VOICE_NAMES[language]}+{delivery.variant}",
            "rate": delivery.rate,
            "pitch": delivery.pitch,
            "range": delivery.range,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        reply = self._reply()
        pcm = self._process.stdout.read(reply["bytes"])
        return self._finish(np.frombuffer(pcm, "<i2").astype(np.float64), delivery, noise_seed)

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DataError(f"ended with status {self._process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise DataError(reply["error"])
        return reply

    def _finish(self, samples: np.ndarray, delivery: Delivery, noise_seed: int) -> np.ndarray:
        from scipy.signal import resample_poly

        divisor = math.gcd(SAMPLE_RATE, self._sample_rate)
        up, down = SAMPLE_RATE // divisor, self._sample_rate // divisor
        speech = resample_poly(samples, up, down, window=self._filter)
        noise = np.random.Generator(np.random.PCG64(noise_seed)).standard_normal(len(speech))
        power = np.sqrt(np.mean(speech**2)) * 10 ** (-delivery.snr / 20)
        mixed = speech + power * noise
        peak = 32767 * 10 ** (delivery.gain / 20)
        return np.round(mixed * (peak / np.abs(mixed).max())).astype(np.int16)


def _resampling_filter(sample_rate: int) -> np.ndarray:
    """Design the low-pass once: `resample_poly` would do it again at every call."""
    from scipy.signal import firwin

    divisor = math.gcd(SAMPLE_RATE, sample_rate)
    longest = max(SAMPLE_RATE, sample_rate) // divisor
    return firwin(20 * longest + 1, 1 / longest, window=("kaiser", 5.0))
