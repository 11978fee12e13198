"""Messages of programs as training data: which can be read aloud, and how they are read."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from espnet_part.corpora.asterisk import prepare, texts
from espnet_part.corpora.asterisk.packages import Package
from espnet_part.corpora.asterisk.reading import read_texts
from espnet_part.corpora.asterisk.texts import (
    Catalogues,
    aloud,
    choose_texts,
    fetch_texts,
    read_catalogues,
)
from espnet_part.data.datadir import DataDir
from espnet_part.errors import DataError
from tests.corpora.test_asterisk import deb, downloads

__all__ = ["downloads"]

#: Messages in French and Italian; the last is in one of them alone.
MESSAGES = {
    "_Delete the whole folder": ("_Supprimer tout le dossier", "_Elimina tutta la cartella"),
    "Send the message now…": ("Envoyer le message maintenant…", "Invia subito il messaggio…"),
    "Open %s in the browser": ("Ouvrir %s dans le navigateur", "Apri %s nel browser"),
    "Quit now": ("Quitter", "Esci"),
    "Copy to the USB drive": ("Copier sur le disque USB", "Copia sul disco USB"),
    "Mail from the office": ("Mail from the office", "Posta dall'ufficio centrale"),
    "Search all the mail": ("Chercher dans le courrier", ""),
}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("_Delete the whole folder", "Delete the whole folder"),
        ("Delete the &whole folder", "Delete the whole folder"),
        ("Ver el mensaje entero (_V)", "Ver el mensaje entero"),
        ("Send the message now…", "Send the message now"),
        ("Send the message now... ", "Send the message now"),
        ("Your name and address:", "Your name and address"),
        ("L’apostrophe est un signe", "L'apostrophe est un signe"),
        ("Папка «Входящие» уже открыта", "Папка «Входящие» уже открыта"),
        ("Two words", ""),
        ("one two three " * 6, ""),
        ("Open %s in the browser", ""),
        ("Copy to the USB drive", ""),
        ("Версия для ОС и программ", ""),
        ("At most 20 of them", ""),
        ("Read the file.txt again", ""),
        ("Use the getText function here", ""),
        ("one line\nand another one", ""),
        ("<b>bold text is here</b>", ""),
        ("", ""),
    ],
)
def test_what_can_be_read_aloud(message: str, text: str) -> None:
    assert aloud(message) == text


def catalogue(number: int, tmp_path: Path) -> bytes:
    polib = pytest.importorskip("polib")
    file = polib.POFile()
    file.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    for message, translated in MESSAGES.items():
        file.append(polib.POEntry(msgid=message, msgstr=translated[number]))
    path = tmp_path / f"{number}.mo"
    file.save_as_mofile(str(path))
    return path.read_bytes()


def catalogues(tmp_path: Path) -> dict[str, bytes]:
    return {
        f"usr/share/locale/{lang}/LC_MESSAGES/mail.mo": catalogue(number, tmp_path)
        for number, lang in enumerate(("fr", "it"))
    }


def write(files: dict[str, bytes], directory: Path) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def test_messages_that_all_languages_have(tmp_path: Path) -> None:
    files = write(catalogues(tmp_path), tmp_path / "files")
    found = sorted(read_catalogues(files, "mail", ("en", "fr", "it")), key=lambda text: text["en"])
    assert found == [
        {
            "en": "Delete the whole folder",
            "fr": "Supprimer tout le dossier",
            "it": "Elimina tutta la cartella",
        },
        {
            "en": "Send the message now",
            "fr": "Envoyer le message maintenant",
            "it": "Invia subito il messaggio",
        },
    ]
    # with fewer languages there is more in common; what is not translated is no translation
    assert {text["en"] for text in read_catalogues(files, "mail", ("en", "fr"))} == {
        *("Delete the whole folder", "Send the message now", "Search all the mail")
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        struct.pack("<Iiiiiii", 0x950412DE, 0, 5, 28, 1 << 30, 0, 0),
        struct.pack("<Iiiiiii", 0x950412DE, 0, 1, 28, 36, 0, 0)
        + struct.pack("<iiii", 3, 60, 3, 60)
        + b"\xff\xfe\xff" * 20,
    ],
)
def test_a_damaged_catalogue_is_named(content: bytes, tmp_path: Path) -> None:
    pytest.importorskip("polib")
    files = write({"usr/share/locale/fr/LC_MESSAGES/mail.mo": content}, tmp_path / "files")
    with pytest.raises(DataError, match=r"mail\.mo: cannot be read"):
        list(read_catalogues(files, "mail", ("en", "fr")))
    with pytest.raises(DataError, match=r"nobody\.mo: cannot be read"):
        list(read_catalogues(files, "nobody", ("en", "fr")))


def test_texts_near_a_held_out_prompt_are_left_out() -> None:
    found = [
        {"en": "Press the star key now", "fr": "Autre chose que cela"},
        {"en": "Something else that is said", "fr": "Appuyez sur la touche étoile"},
        {"en": "Close all of the windows", "fr": "Fermer toutes les fenêtres"},
        {"en": "Show the hidden files", "fr": "Afficher les fichiers cachés"},
    ]
    held_out = [{"en": "press the Star Key, now!", "fr": "appuyez sur la touche etoile."}]
    assert choose_texts(found, 2, held_out) == found[2:]
    assert choose_texts(found, 1, held_out) == found[2:3]
    assert choose_texts(found, 4, []) == found
    with pytest.raises(DataError, match="--texts 3: there are 2"):
        choose_texts(found, 3, held_out)


@pytest.fixture
def programs(tmp_path: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages of one program beside those of the prompts."""
    package = deb(catalogues(tmp_path))
    known = []
    for name in ("mail_1.deb", "mail_2.deb"):
        (downloads / name).write_bytes(package)
        digest = hashlib.sha256(package).hexdigest()
        known.append(Catalogues(Package(name, digest, len(package), "pool", ""), "mail", "MIT"))
    monkeypatch.setattr(texts, "PROGRAMS", tuple(known))
    return downloads


def test_a_text_of_two_programs_is_one(programs: Path) -> None:
    found = fetch_texts(("en", "fr", "it"), programs)
    assert len(found) == 2 and found == fetch_texts(("en", "fr", "it"), programs)


def test_texts_are_training_data_alone(programs: Path, tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    out = tmp_path / "data"
    command = ["--langs", "en,fr", "--out", str(out), "--download_dir", str(programs)]
    prepare.main([*command, "--texts", "3"])
    train, faults = DataDir.load(out / "train")
    assert faults == []
    read = {e.utt_id: e for e in train if e.utt_id.startswith("texts_")}
    assert set(read) == {
        *("texts_en_000000-asr", "texts_en_000000-s2tt-fr", "texts_en_000000-t2tt-fr"),
        *("texts_fr_000000-t2tt-en", "texts_fr_000001-asr", "texts_fr_000001-s2tt-en"),
        *("texts_fr_000001-t2tt-en", "texts_en_000001-t2tt-fr", "texts_en_000002-asr"),
        *("texts_en_000002-s2tt-fr", "texts_en_000002-t2tt-fr", "texts_fr_000002-t2tt-en"),
    }
    heard, translated = read["texts_fr_000001-asr"], read["texts_fr_000001-s2tt-en"]
    assert (heard.lang, heard.tgt, heard.audio) == ("fr", "fr", translated.audio)
    assert translated.src_text == heard.text
    assert read["texts_fr_000001-t2tt-en"].src_text == read["texts_en_000001-t2tt-fr"].text
    for name in ("dev", "test", "test_exchanged"):
        examples, _ = DataDir.load(out / name)
        assert not any(e.utt_id.startswith("texts_") for e in examples)
    assert "3 texts of programs are read by eSpeak NG" in (out / "train/corpus.md").read_text()
    with pytest.raises(SystemExit):
        prepare.main([*command, "--texts", "-1"])


def test_texts_are_read_the_same_again(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    import soundfile

    found = [
        {"en": "Delete the whole folder", "ru": "Удалить всю папку"},
        {"en": "Send the message now", "ru": "Отправить сообщение сейчас"},
    ]
    one, other = (list(read_texts(found, ("en", "ru"), tmp_path / name)) for name in "ab")
    sounds = [
        [soundfile.read(e.audio, dtype="int16") for e in many if e.audio] for many in (one, other)
    ]
    for (first, rate), (second, _) in zip(*sounds, strict=True):
        assert rate == 16000 and len(first) > 8000 and np.array_equal(first, second)
    assert [e.num_samples for e in one if e.audio] == [len(sound) for sound, _ in sounds[0]]
    assert {e.spk for e in one if e.audio} != {None}
