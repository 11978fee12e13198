"""Archives are unpacked whole or not at all, and never outside their directory."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espnet_part import archive as archive_module
from espnet_part.archive import unpack
from espnet_part.errors import DataError
from tests.memory import peak_memory

FILES = {"a.txt": b"one", "d/b.bin": bytes(range(256)) * 100, "d/e/c": b"", "ä ö.txt": b"x"}


Member = tarfile.TarInfo | tuple[str, bytes]


def tar(path: Path, *members: Member, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                file.addfile(info, io.BytesIO(member[1]))
    return path


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def content_of(directory: Path) -> dict[str, bytes]:
    files = (p for p in directory.rglob("*") if p.is_file())
    return {str(p.relative_to(directory)): p.read_bytes() for p in files}


def assert_refused(archive: Path, message: str) -> None:
    """Unpacking fails with the message, and leaves nothing but the archive."""
    room = archive.parent
    before = sorted(room.rglob("*"))
    with pytest.raises(DataError, match=message) as caught:
        unpack(archive, room / "out")
    assert str(archive) in str(caught.value)
    assert sorted(room.rglob("*")) == before


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_files_come_out_as_they_went_in(tmp_path: Path, kind: str) -> None:
    # the name says nothing about the kind
    archive = tmp_path / "archive"
    if kind == "zip":
        zipped(archive, *FILES.items(), ("empty/", b""))
    else:
        tar(archive, *FILES.items(), special("empty", tarfile.DIRTYPE), mode=kind)
    unpack(archive, tmp_path / "new/out")
    assert content_of(tmp_path / "new/out") == FILES
    assert (tmp_path / "new/out/empty").is_dir()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out"]


def test_what_is_not_wanted_is_passed_over(tmp_path: Path) -> None:
    link = special("./links/a", tarfile.SYMTYPE, "../../another/package")
    archive = tar(tmp_path / "a.tar", ("./texts/a.mo", b"a"), ("./texts/b.txt", b"b"), link)
    unpack(archive, tmp_path / "out", lambda name: name.endswith(".mo"))
    assert content_of(tmp_path / "out") == {"texts/a.mo": b"a"}
    # what is refused, is refused all the same
    outside = tar(tmp_path / "b.tar", ("../b.txt", b"b"))
    with pytest.raises(DataError, match=r"b\.txt"):
        unpack(outside, tmp_path / "other", lambda name: False)


def test_permissions_are_ordinary(tmp_path: Path) -> None:
    info = tarfile.TarInfo("setuid")
    info.mode = 0o6777
    unpack(tar(tmp_path / "a.tar", info), tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out/setuid").stat().st_mode) & 0o6111 == 0


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/x", "..", "a/..", "..\\x", "\\x", "C:\\x", "C:x"]
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    message = "absolute name" if name[0] in "/\\C" else r"`\.\.` in its name"
    assert_refused(tar(tmp_path / "a.tar", ("ok", b"1"), (name, b"2")), message)
    (tmp_path / "a.tar").unlink()
    assert_refused(zipped(tmp_path / "a.zip", ("ok", b"1"), (name, b"2")), message)


@pytest.mark.parametrize("target", ["/etc", "..", "a/../../x", "../out2", "../.out.unpacking/a"])
def test_symbolic_links_that_lead_out_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "out2").mkdir()
    link = special("link", tarfile.SYMTYPE, target)
    assert_refused(tar(tmp_path / "a.tar", ("a/f", b""), link), "link")
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert_refused(zipped(tmp_path / "a.zip", ("a/f", b""), (info, target.encode())), "link")


def test_a_name_with_a_null_byte_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as file:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"path": "a\0b"}
        file.addfile(info)
    assert_refused(tmp_path / "a.tar", "null byte")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    link = special("link", tarfile.SYMTYPE, "../other")
    assert_refused(tar(tmp_path / "a.tar", link, ("link/x", b"1")), "link")


def test_a_link_through_links_is_followed_before_it_is_trusted(tmp_path: Path) -> None:
    # by its letters d/e/x is the archive's root; through the link it is above it
    members: list[Member] = [
        ("s/f", b""),
        special("d/e/l", tarfile.SYMTYPE, "../../s"),
        special("d/e/x", tarfile.SYMTYPE, "l/../../.."),
    ]
    assert_refused(tar(tmp_path / "a.tar", *members), "leads out")


@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_links_to_nothing_are_refused(tmp_path: Path, target: str) -> None:
    assert_refused(tar(tmp_path / "a.tar", special("link", tarfile.SYMTYPE, target)), "not there")


def test_links_inside_are_kept(tmp_path: Path) -> None:
    members: list[Member] = [
        special("d/soft", tarfile.SYMTYPE, "../a"),
        ("a", b"1"),
        special("hard", tarfile.LNKTYPE, "a"),
    ]
    unpack(tar(tmp_path / "a.tar", *members), tmp_path / "out")
    assert (tmp_path / "out/d/soft").read_bytes() == b"1"
    assert (tmp_path / "out/hard").samefile(tmp_path / "out/a")


@pytest.mark.parametrize("target", ["../secret", "{room}/secret", "missing"])
def test_hard_links_to_other_files_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_text("s")
    link = special("link", tarfile.LNKTYPE, target.format(room=tmp_path))
    assert_refused(tar(tmp_path / "a.tar", ("a", b"1"), link), "link")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    assert_refused(tar(tmp_path / "a.tar", special("dev", kind)), "'dev' is a device or pipe")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "./a"), ("a", "a/b"), ("a/b", "a")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_given_twice_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    members = [(name, b"1") for name in names]
    assert_refused(tar(tmp_path / "a.tar", *members), "twice")
    (tmp_path / "a.tar").unlink()
    assert_refused(zipped(tmp_path / "a.zip", *members), "twice")


@pytest.mark.parametrize("make", [lambda p, m: tar(p, m, mode="w:gz"), zipped])
def test_bombs_are_refused_before_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Path]
) -> None:
    monkeypatch.setattr(archive_module, "FREE_SIZE", 1000)
    assert_refused(make(tmp_path / "a", ("zeros", bytes(1 << 20))), "200 times the archive")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_larger_than_any_name_is_not_read(tmp_path: Path, kind: bytes) -> None:
    info = special("long", kind)
    info.size = 700 << 20
    raw = info.tobuf(tarfile.GNU_FORMAT) + bytes(info.size)
    archive = tmp_path / "a.tgz"
    archive.write_bytes(gzip.compress(raw, 1))
    del raw
    with peak_memory() as peak:
        assert_refused(archive, f"claims {info.size} bytes")
        assert peak() < 50 << 20


def test_a_bomb_of_headers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "FREE_SIZE", 1000)
    info = special("long", tarfile.GNUTYPE_LONGNAME)
    info.size = 1 << 20
    archive = tmp_path / "a.tgz"
    archive.write_bytes(gzip.compress((info.tobuf(tarfile.GNU_FORMAT) + bytes(info.size)) * 50))
    assert_refused(archive, "200 times the archive")


def test_what_does_not_fit_on_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tar(tmp_path / "a.tar", ("a", bytes(100)), ("b", bytes(100)))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=150))
    assert_refused(archive, "free at")


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("zeros", bytes(100_000)))
    content = archive.read_bytes()
    archive.write_bytes(
        content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    )
    assert_refused(archive, "damaged")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_cut_short_anywhere_is_refused(tmp_path: Path, mode: str) -> None:
    noise = [(f"{n}", os.urandom(700)) for n in range(3)]
    whole = tar(tmp_path / "whole", *noise, mode=mode).read_bytes()
    end = len(whole) if mode != "w" else 3 * (512 + 1024)
    (tmp_path / "whole").unlink()
    for cut in {1, 100, 511, 512, 513, 1536, end // 2, end - 1, end - 5}:
        archive = tmp_path / "cut"
        archive.write_bytes(whole[:cut])
        assert_refused(archive, "cut short|damaged")


def test_damage_in_the_middle_is_found(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", ("a", b"1"), ("b", b"2"))
    content = bytearray(archive.read_bytes())
    content[1024 + 150] ^= 1  # in the checksum of the second header
    archive.write_bytes(bytes(content))
    assert_refused(archive, "damaged")


def test_two_archives_joined_into_one_are_refused(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", ("a", b"1"))
    archive.write_bytes(archive.read_bytes() * 2)
    assert_refused(archive, "more behind")


@pytest.mark.parametrize(
    "content",
    [b"", b"text", gzip.compress(b"text", mtime=0), b"PK\x03\x04 no zip"],
    ids=["empty", "text", "gzip", "zip"],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "a"
    archive.write_bytes(content)
    assert_refused(archive, "no tar or zip|damaged")


def test_a_missing_archive_and_a_full_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such archive"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        unpack(tar(tmp_path / "a.tar", ("a", b"1")), tmp_path / "out")
    assert content_of(tmp_path / "out") == {"mine": b"mine"}


KILLED = """
import os, shutil, signal, sys
from espnet_part.archive import unpack
copy = shutil.copyfileobj
def kill_in_the_second(source, target, *size):
    copy(source, target, *size)
    if target.name.endswith("b"):
        os.kill(os.getpid(), signal.SIGKILL)
shutil.copyfileobj = kill_in_the_second
unpack(sys.argv[1], sys.argv[2])
"""


def test_a_killed_unpacking_leaves_no_directory(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", ("a", b"1"), ("b", b"2"), ("c", b"3"))
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(archive), str(out)])
    assert killed.returncode < 0 and not out.exists()
    assert {p.name for p in tmp_path.iterdir()} == {"a.tar", ".out.unpacking"}
    unpack(archive, out)
    assert content_of(out) == {"a": b"1", "b": b"2", "c": b"3"}
    assert {p.name for p in tmp_path.iterdir()} == {"a.tar", "out"}


@given(
    st.dictionaries(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), max_size=3
        )
        .map("/".join)
        .filter(lambda name: len(name.encode()) < 90),
        st.binary(max_size=50),
        max_size=5,
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_names_come_out_right_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    room = tmp_path_factory.mktemp("room")
    archive = tar(room / "a.tar", *files.items())
    try:
        unpack(archive, room / "out")
    except (DataError, OSError):  # OSError: a name longer than the file system takes
        assert [p.name for p in room.iterdir()] == ["a.tar"]
        return
    expected = {str(PurePosixPath(name)): content for name, content in files.items()}
    assert content_of(room / "out") == expected
