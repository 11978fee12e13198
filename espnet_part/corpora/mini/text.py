"""Text on which the LLM is pretrained: instructions whose source is written, or spelled noisily.

An instruct LLM that a speech LLM starts from can copy, translate and read noisy text. The small
LLM of the embedded corpus learns just that. What it reads stands where the speech will stand:
as text, or "spelled" letter by letter with repeats and errors, as a weak recogniser would hear it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from espnet_part.corpora.mini.grammar import Frame, draw_frame, draw_frames, role, sentence
from espnet_part.corpora.mini.prepare import targets
from espnet_part.tasks import ASR, S2TT, T2TT

ROLES = {"text", "train", "encoder"}
SHARES = (0.3, 0.6, 1.0, 1.0, 1.0)  # of spelled words in a spelled source


@dataclass(frozen=True)
class Instruction:
    """One example: ``source`` in ``lang`` becomes ``answer`` in ``tgt``.

    ``task`` is the task whose wording asks for it; ``spelled`` replaces the written source when
    it is not empty: letters and whole words, one string each.
    """

    task: str
    lang: str
    tgt: str
    source: str
    answer: str
    spelled: tuple[str, ...] = ()


def directions(langs: Sequence[str]) -> list[tuple[str, str]]:
    """List (lang, tgt) of every transcription and translation."""
    return [(lang, tgt) for lang in langs for tgt in (lang, *targets(lang, langs))]


def shorten(frame: Frame) -> Frame:
    """Leave out what a sentence can do without."""
    # without its recipient a gift is the very sentence that a transitive frame says
    template = "transitive" if frame.template == "gift" else frame.template
    return replace(frame, template=template, time="", place="", recipient="", fronted=False)


def spell(text: str, rng: random.Random, noise: float = 0.0, share: float = 1.0) -> tuple[str, ...]:
    """Spell a text as heard: no case, no punctuation, letters repeated, lost or mistaken.

    Args:
        noise: probability of an error at a letter.
        share: probability that a word is spelled; the others stay written, as whole pieces.
    """
    pieces: list[str] = []
    for number, word in enumerate(text.split()):
        word = "".join(c for c in word if c.isalpha() or c == "'")
        space = " " if number else ""
        if rng.random() >= share:
            pieces.append(space + word)
            continue
        heard = space + word.lower()
        for letter in heard:
            draw = rng.random()
            if draw < noise / 3:
                continue
            if draw < noise:
                letter = rng.choice(heard)
            pieces += [letter] * rng.choice((1, 1, 1, 2))
    return tuple(pieces)


def draw_instructions(
    langs: Sequence[str],
    seed: object,
    short: float = 0.0,
    spelled: float = 0.0,
    noise: float = 0.2,
    copy: float = 0.4,
    spans: float = 0.0,
) -> Iterator[Instruction]:
    """Yield instructions for ever, the same for the same arguments; never a dev or test sentence.

    Args:
        short: share of shortened sentences.
        spelled: share of spelled sources.
        noise: the largest share of wrong letters in them.
        copy: share of transcriptions; the rest is spread evenly over the translations.
        spans: share of transcriptions of one to three words out of a sentence.
    """
    rng = random.Random(f"{seed} instructions")
    copies = [(lang, lang) for lang in langs]
    translations = [pair for pair in directions(langs) if pair[0] != pair[1]]
    while True:
        frame = draw_frame(rng)
        if rng.random() < short:
            frame = shorten(frame)
        if role(frame) not in ROLES:
            continue
        lang, tgt = rng.choice(copies if rng.random() < copy else translations)
        source, answer = sentence(frame, lang), sentence(frame, tgt)
        if lang == tgt and lang != "zh" and rng.random() < spans:
            words = source.split()
            start = rng.randrange(len(words))
            source = answer = " ".join(words[start : start + rng.randint(1, 3)])
        letters: tuple[str, ...] = ()
        if rng.random() < spelled:
            letters = spell(source, rng, rng.uniform(0.0, noise), rng.choice(SHARES))
        if lang == tgt:
            task = ASR.name
        else:
            task = S2TT.name if letters or rng.random() < 0.3 else T2TT.name
        yield Instruction(task, lang, tgt, source, answer, letters)


def held_out(
    langs: Sequence[str], count: int, seed: object, spelled: bool = False
) -> list[Instruction]:
    """Draw ``count`` dev sentences in each direction."""
    rng = random.Random(f"{seed} held out")
    instructions = []
    for lang, tgt in directions(langs):
        frames = draw_frames("dev", f"{seed} held out {lang} {tgt}")
        for _, frame in zip(range(count), frames, strict=False):
            source, answer = sentence(frame, lang), sentence(frame, tgt)
            letters = spell(source, rng, 0.1) if spelled else ()
            task = ASR.name if lang == tgt else S2TT.name if spelled else T2TT.name
            instructions.append(Instruction(task, lang, tgt, source, answer, letters))
    return instructions
