"""Texts read by eSpeak NG: training examples of all tasks."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from espnet_part.corpora.asterisk.packages import PIVOT
from espnet_part.corpora.asterisk.texts import Texts
from espnet_part.corpora.mini.speech import TRAIN_VARIANTS, Delivery, Synthesizer
from espnet_part.data.datadir import Example
from espnet_part.files import atomic_write
from espnet_part.progress import open_bar
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.tasks import ASR, S2TT, T2TT


def read_texts(texts: Sequence[Texts], langs: Sequence[str], out: Path) -> Iterator[Example]:
    """Read each text in one language, and translate it between that one and English.

    The languages take turns, and so do those into which English is translated. The same texts and
    languages give the same samples.

    Args:
        langs: the languages of the texts, English among them.
        out: its directory ``audio/texts`` gets a FLAC file a text.

    Raises:
        DataError: eSpeak NG is not installed, or does not read a text.
    """
    import soundfile

    others = [lang for lang in langs if lang != PIVOT]
    with Synthesizer() as synthesizer, open_bar("reading texts", len(texts), "texts") as bar:
        for number, text in enumerate(texts):
            lang = langs[number % len(langs)]
            tgt = PIVOT if lang != PIVOT else others[number // len(langs) % len(others)]
            rng = random.Random(f"{number} {text[lang]}")
            delivery = Delivery.draw(rng, rng.choice(TRAIN_VARIANTS))
            samples = synthesizer.say(text[lang], lang, delivery, number)
            path = (out / f"audio/texts/{lang}_{number:06}.flac").resolve()
            with atomic_write(path, "wb") as file:
                soundfile.write(file, samples, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
            utt, pair = f"texts_{lang}_{number:06}", (lang, tgt, text[tgt], text[lang])
            speaker = f"texts_{lang}_{delivery.variant}"
            yield Example(
                f"{utt}-asr", ASR.name, lang, lang, text[lang],
                audio=str(path), num_samples=len(samples), spk=speaker,
            )  # fmt: skip
            yield Example(
                f"{utt}-s2tt-{tgt}", S2TT.name, *pair,
                audio=str(path), num_samples=len(samples), spk=speaker,
            )  # fmt: skip
            yield Example(f"{utt}-t2tt-{tgt}", T2TT.name, *pair)
            back = f"texts_{tgt}_{number:06}-t2tt-{lang}"
            yield Example(back, T2TT.name, tgt, lang, text[lang], text[tgt])
            bar.update()
