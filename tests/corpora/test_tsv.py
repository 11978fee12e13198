"""The reader of tab-separated tables, against csv and pandas' reading of CoVoST 2."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espnet_part.corpora.tsv import read_tsv
from espnet_part.errors import DataError

PLAIN = st.text("ab \"'\\,;|中\u2028\x85\x0b\xa0", max_size=6)
ROWS = st.lists(st.tuples(PLAIN, PLAIN, PLAIN), max_size=8)
QUIET = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@QUIET
@given(rows=ROWS, ending=st.sampled_from(["\n", "\r\n"]), last=st.booleans(), mark=st.booleans())
def test_what_was_joined_with_tabs_comes_back(tmp_path, rows, ending, last, mark):
    path = tmp_path / "table.tsv"
    lines = ["\t".join(row) for row in (("x", "y", "z"), *rows)]
    content = ending.join(lines) + ending * (last or not rows)
    path.write_bytes(("\ufeff" * mark + content).encode())
    assert list(read_tsv(path, None, ("x", "y", "z"))) == rows
    assert list(read_tsv(path, None, ("z", "x"), optional=("none", "y"))) == [
        (z, x, "", y) for x, y, z in rows
    ]
    assert list(read_tsv(path, ("a", "b", "c"), ("b",)))[1:] == [(y,) for _, y, _ in rows]


@QUIET
@given(rows=st.lists(st.tuples(*[st.text('ab\t\n\\"中 ', max_size=6)] * 3), max_size=8))
def test_escapes_are_read_as_csv_reads_them(tmp_path, rows):
    """CoVoST 2 is read with QUOTE_NONE and a backslash as the escape character."""
    written = io.StringIO()
    options = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "escapechar": "\\"}
    writer = csv.writer(written, lineterminator="\n", quotechar=None, **options)
    writer.writerow(("x", "y", "z"))
    writer.writerows(rows)
    path = tmp_path / "table.tsv"
    path.write_bytes(written.getvalue().encode())
    assert list(read_tsv(path, None, ("x", "y", "z"), escaped=True)) == rows


def test_lines_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_bytes(b"a\tb\n1\t2\n3\n4\t5\t6\n\n\xff\t7\n8\t9")
    bad: list[tuple[int, str, str]] = []
    rows = list(read_tsv(path, None, ("b", "a"), lambda *line: bad.append(line)))
    assert rows == [("2", "1"), ("9", "8")]
    assert bad == [
        (3, "wrong number of columns", "1 instead of 2"),
        (4, "wrong number of columns", "3 instead of 2"),
        (5, "wrong number of columns", "1 instead of 2"),
        (6, "not UTF-8", "byte 1"),
    ]
    with pytest.raises(DataError, match=r"table\.tsv:3: wrong number of columns"):
        list(read_tsv(path, None, ("b",)))


def test_quotes_swallow_nothing(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text('a\tb\n"open\t1\n2\tx\n3\t"closed\n')
    assert list(read_tsv(path, None, ("a", "b"))) == [('"open', "1"), ("2", "x"), ("3", '"closed')]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty, without even a header"),
        (b"a\tc\n", "no column b; the columns are: a, c"),
        (b"\xff\xfe\n", "the header is not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_tables_that_are_none(tmp_path, content, said):
    path = tmp_path / "table.tsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        list(read_tsv(path, None, ("b",)))


def test_a_table_without_header_may_be_empty(tmp_path):
    path = tmp_path / "table.tsv"
    path.touch()
    assert list(read_tsv(path, ("a",), ("a",))) == []
