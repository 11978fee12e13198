"""Common Voice and CoVoST 2, small, in their exact layout and with the faults they are known for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.recipes.tiny import write_clip

RELEASE = "cv-corpus-15.0-2023-09-08"
HEADERS = {
    RELEASE: (
        "client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents",
        "variant", "locale", "segment",
    ),
    "cv-corpus-4-2019-12-10": (
        "client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accent",
    ),
    "cv-corpus-17.0-2024-03-15": (
        "client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes",
        "age", "gender", "accents", "variant", "locale", "segment",
    ),
}  # fmt: skip


def write_tsv(path: Path, header: Sequence[str], rows: Iterable[dict[str, str] | bytes]) -> None:
    """Write a table; a row of bytes is a line as it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write("\t".join(header).encode() + b"\n")
        for row in rows:
            line = (
                row
                if isinstance(row, bytes)
                else "\t".join(row.get(c, "") for c in header).encode()
            )
            file.write(line + b"\n")


class Locale:
    """One locale of a release.

    Args:
        root: the release's directory; its name says the release.
        speech: whether clips are real mp3 (48 kHz) or empty files.
    """

    def __init__(self, root: Path, name: str, speech: bool = False) -> None:
        self.name = name
        self.directory = root / name
        self.header = HEADERS.get(root.name, HEADERS[RELEASE])
        self.speech = speech
        self.clips = self.directory / "clips"
        self.clips.mkdir(parents=True)
        for table in ("train", "dev", "test", "validated"):
            self.table(table, [])

    def row(
        self, number: int | str, sentence: str, client: str = "c1", clip: bool = True
    ) -> dict[str, str]:
        """A row, and its clip unless that is to be missing."""
        path = f"common_voice_{self.name}_{number}.mp3"
        if clip and not (self.clips / path).exists():
            if self.speech:
                write_clip(self.clips / path, 0.6, 48000, seed=len(path) + hash(number) % 100)
            else:
                (self.clips / path).touch()
        more = {"up_votes": "2", "down_votes": "0", "locale": self.name}
        return {"client_id": client * 64, "path": path, "sentence": sentence, **more}

    def table(self, name: str, rows: Iterable[dict[str, str] | bytes]) -> None:
        write_tsv(self.directory / f"{name}.tsv", self.header, rows)


def covost_table(
    directory: Path, source: str, target: str, rows: Iterable[tuple[str, str, str] | bytes]
) -> Path:
    """Write a table of (clip number, translation, split)."""
    path = directory / f"covost_v2.{source}_{target}.tsv"
    header = ("path", "translation", "split")
    write_tsv(
        path,
        header,
        [
            row
            if isinstance(row, bytes)
            else {
                "path": f"common_voice_{source}_{row[0]}.mp3",
                "translation": row[1],
                "split": row[2],
            }
            for row in rows
        ],
    )
    return path


def read_table(path: Path) -> dict[str, str]:
    """A file of a data directory as {id: value}."""
    pairs = (line.partition(" ") for line in path.read_text(encoding="utf-8").splitlines())
    return {key: value for key, _, value in pairs}


def dropped(directory: Path) -> list[tuple[str, ...]]:
    """(language, task, item, reason) of every line of ``dropped.tsv``."""
    lines = (directory / "dropped.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [tuple(line.split("\t")[1:5]) for line in lines]
