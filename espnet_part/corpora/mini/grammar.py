"""A templated parallel grammar: one frame (the meaning) gives a sentence in every language.

Which frames may be used where is a pure function of the frame (`role`), so no list of held-out
sentences has to be passed around: word pairs such as (red, car) are held out by a hash, a frame
with a held-out pair never reaches any speech training, and the frames that dev and test may draw
are withheld from the text on which the LLM is pretrained as well.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass

from espnet_part.corpora.mini import lexicon as lex
from espnet_part.errors import ConfigError

TEMPLATES = ("transitive", "action", "modal", "question", "count", "property", "gift")
# shares of held-out word pairs, in percent of all pairs of a kind
TEST_PAIRS, DEV_PAIRS = 4, 3


@dataclass(frozen=True)
class Frame:
    """A sentence's meaning; words are the English keys of `lexicon`, empty where not used."""

    template: str
    subject: str = ""
    possessive: bool = False  # "my teacher" instead of "the teacher"
    verb: str = ""
    modal: str = ""
    question: str = ""
    definite: bool = False
    number: str = ""
    adjective: str = ""
    object: str = ""
    copula: str = ""
    quality: str = ""
    recipient: str = ""
    place: str = ""
    time: str = ""
    fronted: bool = False  # the time opens the sentence

    def pairs(self) -> Iterator[tuple[str, str, str]]:
        """Yield the (kind, word, word) combinations that may be held out."""
        kinds = {
            "subject-verb": (self.subject, self.verb),
            "verb-object": (self.verb, self.object),
            "adjective-object": (self.adjective, self.object),
            "number-object": (self.number, self.object),
            "quality-object": (self.quality, self.object),
            "verb-place": (self.verb, self.place),
        }
        for kind, (first, second) in kinds.items():
            if first and second:
                yield kind, first, second


def _hash(*parts: object) -> int:
    """Hash to 64 bits, equal in every process and version (unlike `hash`)."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def pair_role(pair: tuple[str, str, str]) -> str:
    """Say whether a word pair is for "test", "dev", or free to be "train"ed on."""
    place = _hash("pair", *pair) % 100
    if place < TEST_PAIRS:
        return "test"
    return "dev" if place < TEST_PAIRS + DEV_PAIRS else "train"


def role(frame: Frame) -> str:
    """Say what a frame may be used for, as a pure function of the frame.

    "train" (speech and text of PART's training) and "encoder" (clips on which the encoder is
    pretrained) hold no held-out pair; "test" and "dev" hold pairs held out for them alone; "text"
    holds held-out pairs too, but is seen only as text by the LLM's pretraining, which also reads
    "train" and "encoder", never "dev" and "test".
    """
    held_out = {pair_role(pair) for pair in frame.pairs()} - {"train"}
    draw = _hash("frame", *astuple(frame)) % 4
    if not held_out:
        return "encoder" if draw == 0 else "train"
    if len(held_out) == 1 and draw < 2:
        return held_out.pop()
    return "text"


def draw_frame(rng: random.Random) -> Frame:
    """Draw a frame of any role."""

    def one(words: object) -> str:
        return rng.choice(list(words))  # type: ignore[call-overload]

    def flag(probability: float = 0.5) -> bool:
        return rng.random() < probability

    template = rng.choice(TEMPLATES)
    subject = {"subject": one(lex.PERSONS), "possessive": flag(0.4)}
    thing = {
        "definite": flag(),
        "adjective": one(lex.ADJECTIVES),
        "object": one(lex.OBJECTS),
    }
    verb = one(lex.TRANSITIVE)
    when = {"time": one(lex.TIMES), "fronted": flag(0.4)} if flag(0.6) else {}
    if template == "transitive":
        return Frame(template, verb=verb, **subject, **thing, **when)  # type: ignore[arg-type]
    if template == "action":
        intransitive = one(lex.INTRANSITIVE)
        return Frame(template, verb=intransitive, place=one(lex.PLACES), **subject, **when)  # type: ignore[arg-type]
    if template == "modal":
        return Frame(template, verb=verb, modal=one(lex.MODALS), **subject, **thing, **when)  # type: ignore[arg-type]
    if template == "question":
        return Frame(template, verb=verb, question=one(lex.QUESTIONS), **subject, **thing)  # type: ignore[arg-type]
    if template == "count":
        thing.pop("definite")
        number, place = one(lex.NUMBERS), one(lex.PLACES)
        return Frame(template, verb=verb, number=number, place=place, **subject, **thing)  # type: ignore[arg-type]
    if template == "property":
        return Frame(
            template,
            definite=True,
            adjective=one(lex.COLOURS),
            object=one(lex.OBJECTS),
            place=one(lex.PLACES) if flag() else "",
            copula=one(lex.COPULAS),
            quality=one(lex.QUALITIES),
        )
    recipient = one(word for word in lex.PERSONS if word != subject["subject"])
    return Frame(template, verb=verb, recipient=recipient, **subject, **thing)  # type: ignore[arg-type]


def draw_frames(roles: str | set[str], seed: object) -> Iterator[Frame]:
    """Yield distinct frames of the given role(s) for ever, always the same for the same seed."""
    wanted = {roles} if isinstance(roles, str) else roles
    rng = random.Random(f"{seed}")
    seen = set()
    while True:
        frame = draw_frame(rng)
        if frame not in seen and role(frame) in wanted:
            seen.add(frame)
            yield frame


def sentence(frame: Frame, language: str) -> str:
    """Say a frame in a language, cased and punctuated.

    Raises:
        ConfigError: for a language that the grammar does not speak.
    """
    check_languages([language])
    words = _SPEAKERS[language](frame)
    end = "?" if frame.question else "."
    if language == "zh":
        return "".join(words) + ("？" if frame.question else "。")
    text = " ".join(word for word in words if word).replace("' ", "'")
    opening = "¿" if language == "es" and frame.question else ""
    space = " " if language == "fr" and frame.question else ""
    return opening + text[0].upper() + text[1:] + space + end


def check_languages(languages: list[str]) -> None:
    """Refuse languages that the grammar does not speak.

    Raises:
        ConfigError: naming the first of them and those that are known.
    """
    for language in languages:
        if language not in lex.LANGUAGES:
            raise ConfigError(
                f"the embedded corpus does not speak `{language}`; "
                f"choose from {' '.join(lex.LANGUAGES)}"
            )


def _clause(
    frame: Frame, subject: str, verb: list[str], rest: list[str], time: str, second: bool = False
) -> list[str]:
    """Order subject, verb, the rest and the time; ``second`` keeps the verb second (German)."""
    if not frame.fronted:
        return [subject, *verb, *([time, *rest] if second else [*rest, time])]
    if second:
        return [time, *verb, subject, *rest]
    return [time, subject, *verb, *rest]


def _verb(frame: Frame, language: str) -> tuple[str, str]:
    verbs = lex.INTRANSITIVE if frame.template == "action" else lex.TRANSITIVE
    return verbs[frame.verb][language]


def _common(frame: Frame, language: str) -> tuple[str, str]:
    place = lex.PLACES[frame.place][language] if frame.place else ""
    time = lex.TIMES[frame.time][language] if frame.time else ""
    return place, time


def _english(frame: Frame) -> list[str]:
    place, time = _common(frame, "en")
    thing = ""
    if frame.object:
        singular, plural, _ = lex.OBJECTS[frame.object]["en"]
        if frame.number:
            thing = f"{lex.NUMBERS[frame.number]['en']} {frame.adjective} {plural}"
        elif frame.definite:
            thing = f"the {frame.adjective} {singular}"
        else:
            thing = f"{'an' if frame.adjective[0] in 'aeiou' else 'a'} {frame.adjective} {singular}"
    if frame.template == "property":
        return [thing, place, lex.COPULAS[frame.copula]["en"], frame.quality]
    subject = f"{'my' if frame.possessive else 'the'} {frame.subject}"
    present, infinitive = _verb(frame, "en")
    if frame.question:
        return [lex.QUESTIONS[frame.question]["en"], "does", subject, infinitive, thing]
    verb = [lex.MODALS[frame.modal]["en"], infinitive] if frame.modal else [present]
    recipient = f"for my {frame.recipient}" if frame.recipient else ""
    return _clause(frame, subject, verb, [thing, recipient, place], time)


_GERMAN_ARTICLES = {  # nominative; the accusative differs in the masculine alone
    "the": {"m": "der", "f": "die", "n": "das"},
    "a": {"m": "ein", "f": "eine", "n": "ein"},
    "my": {"m": "mein", "f": "meine", "n": "mein"},
}
_GERMAN_ACCUSATIVE = {"the": "den", "a": "einen", "my": "meinen"}


def _german_person(word: str, article: str, accusative: bool = False) -> str:
    noun, gender = lex.PERSONS[word]["de"]
    if accusative and gender == "m":
        return f"{_GERMAN_ACCUSATIVE[article]} {noun}"
    return f"{_GERMAN_ARTICLES[article][gender]} {noun}"


def _german_thing(frame: Frame) -> str:
    singular, plural, gender = lex.OBJECTS[frame.object]["de"]
    stem = lex.ADJECTIVES[frame.adjective]["de"][1]
    if frame.number:
        return f"{lex.NUMBERS[frame.number]['de']} {stem}e {plural}"
    article = "the" if frame.definite else "a"
    if frame.template != "property" and gender == "m":
        return f"{_GERMAN_ACCUSATIVE[article]} {stem}en {singular}"
    ending = "es" if article == "a" and gender == "n" else "e"
    return f"{_GERMAN_ARTICLES[article][gender]} {stem}{ending} {singular}"


def _german(frame: Frame) -> list[str]:
    place, time = _common(frame, "de")
    thing = _german_thing(frame) if frame.object else ""
    if frame.template == "property":
        quality = lex.ADJECTIVES[frame.quality]["de"][0]
        return [thing, place, lex.COPULAS[frame.copula]["de"], quality]
    subject = _german_person(frame.subject, "my" if frame.possessive else "the")
    present, infinitive = _verb(frame, "de")
    if frame.question:
        return [lex.QUESTIONS[frame.question]["de"], present, subject, thing]
    recipient = f"für {_german_person(frame.recipient, 'my', True)}" if frame.recipient else ""
    rest = [thing, recipient, place]
    if frame.modal:
        modal = lex.MODALS[frame.modal]["de"]
        return _clause(frame, subject, [modal], [*rest, infinitive], time, second=True)
    return _clause(frame, subject, [present], rest, time, second=True)


def _spanish_article(article: str, noun: str, feminine: bool, family: bool) -> str:
    if article == "my":
        return "mi"
    return {"the": ("el", "la"), "a": ("un", "una")}[article][feminine]


def _french_article(article: str, noun: str, feminine: bool, family: bool) -> str:
    vowel = noun[0] in "aeiouéhœ"
    if article == "the":
        return "l'" if vowel else ("le", "la")[feminine]
    if article == "my":
        return "ma" if feminine and not vowel else "mon"
    return ("un", "une")[feminine]


def _portuguese_article(article: str, noun: str, feminine: bool, family: bool) -> str:
    return {"the": ("o", "a"), "a": ("um", "uma"), "my": ("meu", "minha")}[article][feminine]


def _italian_article(article: str, noun: str, feminine: bool, family: bool) -> str:
    vowel = noun[0] in "aeiou"
    impure = noun[0] == "z" or (noun[0] == "s" and noun[1] not in "aeiou")
    if article == "my":
        return ("mio", "mia")[feminine] if family else ("il mio", "la mia")[feminine]
    if article == "the":
        return "l'" if vowel else "la" if feminine else "lo" if impure else "il"
    if feminine:
        return "un'" if vowel else "una"
    return "uno" if impure else "un"


@dataclass(frozen=True)
class _Romance:
    """What Spanish, French, Italian and Portuguese share: gender, agreement, a fixed order of words."""

    language: str
    article: Callable[[str, str, bool, bool], str]
    preceding: tuple[str, ...]  # adjectives that stand before their noun
    recipient: str
    interrogative: tuple[str, bool]  # words after the question word; the verb before the subject?

    def person(self, word: str, article: str) -> str:
        noun, gender = lex.PERSONS[word][self.language]
        return f"{self.article(article, noun, gender == 'f', word in lex.FAMILY)} {noun}"

    def thing(self, frame: Frame) -> str:
        singular, plural, gender = lex.OBJECTS[frame.object][self.language]
        feminine = gender == "f"
        form = feminine + (2 if frame.number else 0)
        adjective = lex.ADJECTIVES[frame.adjective][self.language][form]
        noun = plural if frame.number else singular
        words = (
            f"{adjective} {noun}" if frame.adjective in self.preceding else f"{noun} {adjective}"
        )
        if frame.number:
            number = lex.NUMBERS[frame.number][self.language]
            return f"{lex.FEMININE_NUMBERS.get(number, number) if feminine else number} {words}"
        return f"{self.article('the' if frame.definite else 'a', words, feminine, False)} {words}"

    def __call__(self, frame: Frame) -> list[str]:
        place, time = _common(frame, self.language)
        thing = self.thing(frame) if frame.object else ""
        if frame.template == "property":
            feminine = lex.OBJECTS[frame.object][self.language][2] == "f"
            quality = lex.ADJECTIVES[frame.quality][self.language][feminine]
            return [thing, place, lex.COPULAS[frame.copula][self.language], quality]
        subject = self.person(frame.subject, "my" if frame.possessive else "the")
        present, infinitive = _verb(frame, self.language)
        if frame.question:
            words, inverted = self.interrogative
            core = [present, subject] if inverted else [subject, present]
            return [lex.QUESTIONS[frame.question][self.language], words, *core, thing]
        modal = lex.MODALS[frame.modal][self.language] if frame.modal else ""
        verb = [modal, infinitive] if modal else [present]
        recipient = ""
        if frame.recipient:
            recipient = f"{self.recipient} {self.person(frame.recipient, 'my')}"
        return _clause(frame, subject, verb, [thing, recipient, place], time)


_RUSSIAN_GENDERS = ("m", "f", "n", "p")  # p: a noun that has no singular
_RUSSIAN_THIS = {"m": "этот", "f": "эта", "n": "это", "p": "эти"}
_RUSSIAN_MY = {"m": "мой", "f": "моя"}


def _russian_counted(frame: Frame) -> str:
    """A number and what it counts, accusative: two to four rule the genitive singular."""
    _, _, genitive, genitive_plural, gender = lex.OBJECTS[frame.object]["ru"]
    forms = lex.ADJECTIVES[frame.adjective]["ru"]
    number = lex.NUMBERS[frame.number]["ru"]
    few = frame.number in ("two", "three", "four")
    if gender == "p":
        number = lex.RUSSIAN_COLLECTIVES.get(number, number)
    elif gender == "f":
        number = lex.FEMININE_NUMBERS.get(number, number)
    adjective = forms[3] if few and gender == "f" else forms[5]
    return f"{number} {adjective} {genitive if few else genitive_plural}"


def _russian_thing(frame: Frame) -> str:
    """The object, nominative in a property and else accusative; "this" marks the definite."""
    if frame.number:
        return _russian_counted(frame)
    nominative, accusative, _, _, gender = lex.OBJECTS[frame.object]["ru"]
    forms = lex.ADJECTIVES[frame.adjective]["ru"]
    noun, adjective = nominative, forms[_RUSSIAN_GENDERS.index(gender)]
    this = _RUSSIAN_THIS[gender]
    if frame.template != "property":
        noun = accusative
        if gender == "f":  # the one gender whose accusative differs, for things
            this, adjective = "эту", forms[4]
    return f"{this} {adjective} {noun}" if frame.definite else f"{adjective} {noun}"


def _russian(frame: Frame) -> list[str]:
    place, time = _common(frame, "ru")
    thing = _russian_thing(frame) if frame.object else ""
    if frame.template == "property":
        gender = _RUSSIAN_GENDERS.index(lex.OBJECTS[frame.object]["ru"][4])
        quality = lex.ADJECTIVES[frame.quality]["ru"][gender]
        return [thing, place, lex.COPULAS[frame.copula]["ru"], quality]
    person, _, gender_of_person = lex.PERSONS[frame.subject]["ru"]
    subject = f"{_RUSSIAN_MY[gender_of_person]} {person}" if frame.possessive else person
    present, infinitive = _verb(frame, "ru")
    if frame.question:
        return [lex.QUESTIONS[frame.question]["ru"], subject, present, thing]
    verb = [present]
    if frame.modal:
        modal = lex.MODALS[frame.modal]["ru"]
        verb = ["должна" if modal == "должен" and gender_of_person == "f" else modal, infinitive]
    recipient = ""
    if frame.recipient:
        _, genitive, gender_of_recipient = lex.PERSONS[frame.recipient]["ru"]
        recipient = f"для {'моей' if gender_of_recipient == 'f' else 'моего'} {genitive}"
    return _clause(frame, subject, verb, [thing, recipient, place], time)


def _chinese_thing(frame: Frame) -> str:
    noun, _, measure = lex.OBJECTS[frame.object]["zh"]
    adjective = lex.ADJECTIVES[frame.adjective]["zh"][0]
    first = lex.NUMBERS[frame.number]["zh"] if frame.number else "那" if frame.definite else "一"
    return f"{first}{measure}{adjective}的{noun}"


def _chinese(frame: Frame) -> list[str]:
    place, time = _common(frame, "zh")
    thing = _chinese_thing(frame) if frame.object else ""
    if frame.template == "property":
        quality = lex.ADJECTIVES[frame.quality]["zh"][0]
        where = f"{place}的" if place else ""
        return [where, thing, lex.COPULAS[frame.copula]["zh"], quality]
    subject = ("我的" if frame.possessive else "") + lex.PERSONS[frame.subject]["zh"][0]
    verb = _verb(frame, "zh")[0]
    if frame.question:
        return [subject, lex.QUESTIONS[frame.question]["zh"], verb, thing]
    modal = lex.MODALS[frame.modal]["zh"] if frame.modal else ""
    recipient = f"给我的{lex.PERSONS[frame.recipient]['zh'][0]}" if frame.recipient else ""
    opening = [time, subject] if frame.fronted else [subject, time]
    return [*opening, modal, recipient, place, verb, thing]


_SPEAKERS: dict[str, Callable[[Frame], list[str]]] = {
    "en": _english,
    "de": _german,
    "es": _Romance("es", _spanish_article, (), "para", ("", True)),
    "fr": _Romance(
        "fr", _french_article, ("big", "small", "old", "new", "beautiful"), "pour",
        ("est-ce que", False),
    ),
    "it": _Romance("it", _italian_article, (), "per", ("", True)),
    "zh": _chinese,
    "pt": _Romance("pt", _portuguese_article, (), "para", ("", True)),
    "ru": _russian,
}  # fmt: skip
