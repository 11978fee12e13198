"""A process of its own that drives eSpeak NG: requests as JSON lines in, PCM out.

eSpeak NG is GPL-3.0-or-later and comes from the optional package ``espeakng-loader``. Nothing else
in this project loads it: `speech.Synthesizer` starts this module as a separate program and speaks
to it through pipes.

Each request is ``{"text", "voice", "rate", "pitch", "range"}``; each reply is a line
``{"rate": Hz, "bytes": n}`` and n bytes of little-endian 16-bit mono PCM, or ``{"error": "..."}``.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

# AUDIO_OUTPUT_SYNCHRONOUS: call back with samples, play nothing, return when done. Retrieval mode
# does the same from another thread that mostly sleeps.
_SYNCHRONOUS = 2
_UTF8 = 1  # espeakCHARS_UTF8
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER


class ESpeak:
    """The few calls of eSpeak NG's `speak_lib.h` that are needed to get samples."""

    def __init__(self) -> None:
        import espeakng_loader

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = Path(espeakng_loader.get_data_path())
        self.sample_rate = self.library.espeak_Initialize(
            _SYNCHRONOUS, 0, str(data.parent).encode(), 0
        )
        if self.sample_rate <= 0:
            raise RuntimeError(f"eSpeak NG does not find its data in {data}")
        # An unknown variant raises no error in eSpeak NG; it is silently the default voice.
        self.variants = {path.name for path in (data / "voices" / "!v").iterdir()}
        self.pcm = bytearray()
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        self.callback = kind(self._receive)  # kept: ctypes does not hold a reference
        self.library.espeak_SetSynthCallback(self.callback)

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int) -> int:
        if samples and count > 0:
            self.pcm += ctypes.string_at(samples, 2 * count)
        return 0

    def say(self, text: str, voice: str, rate: int, pitch: int, range: int) -> bytes:
        """Synthesise; ``voice`` is ``language[+variant]``, ``rate`` in words a minute.

        Raises:
            ValueError: unknown language or variant, or eSpeak NG returned no sample.
        """
        _, _, variant = voice.partition("+")
        if variant and variant not in self.variants:
            raise ValueError(f"eSpeak NG has no voice variant {variant!r}")
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {voice!r}")
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, range)):
            self.library.espeak_SetParameter(parameter, value, 0)
        self.pcm.clear()
        # Breathy variants draw noise from a generator that otherwise starts from the clock.
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        encoded = text.encode() + b"\0"
        self.library.espeak_Synth(encoded, len(encoded), 0, 1, 0, _UTF8, None, None)
        if not self.pcm:
            raise ValueError(f"eSpeak NG returned no sound for {text!r}")
        return bytes(self.pcm)


def main() -> None:
    """Answer requests until the input ends."""
    out = sys.stdout.buffer
    try:
        speaker = ESpeak()
    except (ImportError, OSError, RuntimeError) as error:
        out.write(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n")
        return
    out.write(json.dumps({"rate": speaker.sample_rate}).encode() + b"\n")
    out.flush()
    for line in sys.stdin.buffer:
        try:
            pcm = speaker.say(**json.loads(line))
        except ValueError as error:
            out.write(json.dumps({"error": str(error)}).encode() + b"\n")
        else:
            out.write(json.dumps({"bytes": len(pcm)}).encode() + b"\n" + pcm)
        out.flush()


if __name__ == "__main__":
    main()
