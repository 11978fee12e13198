from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.errors import DataError
from espnet_part.kaldi import (
    MAX_LINE,
    iter_table,
    parse_count,
    read_counts,
    read_table,
    write_table,
)


def table(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", {}),
        (b"a x\nb\tx y \nc\n", {"a": "x", "b": "x y", "c": ""}),
        (b"\xef\xbb\xbfa x\nb y", {"a": "x", "b": "y"}),
        (b"\xef\xbb\xbfa\n", {"a": ""}),
        (b"a x\r\n\r\n \t\nb  y\r\n", {"a": "x", "b": "y"}),
        ("a x\u2028y\x85z\u3000\n".encode(), {"a": "x\u2028y\x85z\u3000"}),
        (b" a x\n\tb y\n", {"a": "x", "b": "y"}),
        ("ä\u0301/語:1 x\n".encode(), {"ä\u0301/語:1": "x"}),
        (b"a \rx\r\r\n", {"a": "\rx"}),
        (b"a \xc2\xa0x\n", {"a": "\u00a0x"}),
    ],
)
def test_read(tmp_path: Path, content: bytes, expected: dict[str, str]) -> None:
    assert read_table(table(tmp_path / "text", content)) == expected


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("a x\na y\n", 2, "given twice"),
        ("a\na\n", 2, "given twice"),
        ("a x\nb\u00a0c y\n", 2, "U+00A0"),
        ("u\u3000text\n", 1, "U+3000"),
        ("u\u2028v x\n", 1, "U+2028"),
        ("u\x85v x\n", 1, "U+0085"),
        ("\ufeff\ufeffa x\n", 1, "U+FEFF"),
        ("a\x00 x\n", 1, "U+0000"),
        ("a\rb x\n", 1, "U+000D"),
    ],
)
def test_lines_that_are_refused_by_number(
    tmp_path: Path, content: str, line: int, what: str
) -> None:
    path = table(tmp_path / "text", content.encode())
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}:{line}:")
    assert what in str(caught.value)


def test_bad_lines_are_told_and_the_others_read(tmp_path: Path) -> None:
    told: list[tuple[int, str, str, str]] = []
    long = b"l " + b"x" * (2 * MAX_LINE) + b"\n"
    content = b"a x\nb \xff\n" + long + b"a y\nc\xc2\xa0 z\nd z\n"
    found = read_table(table(tmp_path / "text", content), lambda *line: told.append(line))
    assert found == {"a": "x", "d": "z"}
    assert [line[:3] for line in told] == [
        (2, "b", "wrong encoding"),
        (3, "l", "line too long"),
        (4, "a", "duplicate id"),
        (5, "c\u00a0", "odd space or control in the id"),
    ]


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, said in [
        (tmp_path / "fifo", "not a regular file"),
        (tmp_path, "is a directory"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path / "none", "missing file"),
        (tmp_path / "a\0b", "null (byte|character)"),
        (tmp_path / "a" / "b" / ("c" * 300), "missing file|too long"),
    ]:
        with pytest.raises(DataError, match=said):
            read_table(path)


def test_counts(tmp_path: Path) -> None:
    assert read_counts(table(tmp_path / "n", b"a 16000\nb 0\n")) == {"a": 16000, "b": 0}
    for value in (
        "",
        "-1",
        "1.5",
        "x",
        "9" * 5000,
        "9" * 17,
        str(2**53 + 1),
        "\u0663",
        "1_0",
        "1 2",
    ):
        assert parse_count(value) is None, value
        with pytest.raises(DataError, match="n: a: not a number"):
            read_counts(table(tmp_path / "n", f"a {value}\n".encode()))


def test_written_sorted_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "text"
    write_table(path, [("b", " y  z\t"), ("a", ""), ("ä", "x"), ("B", "\u2028x")])
    assert path.read_bytes().decode() == "B \u2028x\na\nb y  z\nä x\n"
    for rows, said in [
        ([("a", "x"), ("a", "y")], "given twice"),
        ([("a b", "x")], "one line"),
        ([("a\u00a0b", "x")], "one line"),
        ([("", "x")], "one line"),
        ([("a", "x\n")], "one line"),
        ([("a", "x\r")], "one line"),
    ]:
        with pytest.raises(DataError, match=said):
            write_table(path, rows)
    assert len(path.read_bytes().decode().split("\n")) == 5  # the old one is untouched
    assert [file.name for file in path.parent.iterdir()] == ["text"]


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(
            alphabet=st.sampled_from("ab \t\r\n\u00a0\u3000\u2028\x85\ufeff\x00\ud7ff語"),
            max_size=60,
        ).map(str.encode),
    )
)
def test_any_bytes_give_lines_or_reasons(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = table(tmp_path_factory.getbasetemp() / "any", content)
    told: list[int] = []
    numbers = [number for number, _, _ in iter_table(path, lambda number, *_: told.append(number))]
    # every line with something in it is either read or told
    bare = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert sorted(numbers + told) == [
        n for n, line in enumerate(bare, 1) if line.rstrip(b"\r\n").strip(b" \t")
    ]


_ids = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1)
_values = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(_ids, _values, max_size=5))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "again"
    try:
        write_table(path, rows.items())
    except DataError:
        assert any("\n" in v or "\r" in v for v in rows.values()) or any(
            "\ufeff" in utt for utt in rows
        )
        return
    assert read_table(path) == {utt: value.strip(" \t") for utt, value in rows.items()}
