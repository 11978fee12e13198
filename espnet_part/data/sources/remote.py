"""Files in object stores and on web servers, read in ranges through fsspec.

A table of others names what is read, so only the protocols below are: none that reaches this machine's
files or runs what it names (``file://``, ``simplecache::…``). Credentials come from where each store's own
tools keep them (``AWS_*``, ``~/.aws``, ``GOOGLE_APPLICATION_CREDENTIALS``), never from a URL.
"""

from __future__ import annotations

import functools
import io
import re
import time
from collections.abc import Mapping
from typing import Any

from espnet_part.errors import UserError

PROTOCOLS = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp", "memory": "fsspec"}
"""What is read, and the package that does it; each has an extra in ``setup.py``."""

_URL = re.compile(r"([A-Za-z0-9+.:_-]+)://")
_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds before each further try
_TIMEOUT = 60.0  # seconds without a byte


def is_url(path: str) -> bool:
    """Whether a path names something elsewhere, or tries to."""
    return _URL.match(path) is not None


def without_secrets(url: str) -> str:
    """A URL as it may be shown: without user, password and query, which may be a signature."""
    if not is_url(url):
        return url
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


class RemoteFile(io.RawIOBase):
    """A file elsewhere. Each read is one request for as many bytes as are asked for, tried several times.

    Raises:
        ValueError: a URL that is not read here.
        OSError: there is no such file, no access, or no answer after all tries; names URL and status.
        UserError: the package for the protocol is not installed.
    """

    def __init__(self, url: str) -> None:
        _check(url)
        self.url = url
        self.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = _size(self.url) if whence == io.SEEK_END else self.at * (whence == io.SEEK_CUR)
        self.at = max(0, base + offset)
        return self.at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        stop = min(self.at + len(view), _size(self.url))
        if stop <= self.at:
            return 0
        content = _patiently(self.url, functools.partial(_fetch, self.url, self.at, stop))
        view[: len(content)] = content
        self.at = stop
        return len(content)


def _check(url: str) -> None:
    scheme, _, rest = url.partition("://")
    if scheme not in PROTOCOLS or "::" in url:
        known = ", ".join(f"{name}://" for name in PROTOCOLS if name != "memory")
        raise ValueError(f"{without_secrets(url)[:200]}: only {known} and paths are read")
    if "@" in rest.partition("/")[0]:
        raise ValueError(
            f"{without_secrets(url)[:200]}: user names and passwords in URLs are not read; they belong into "
            "the environment of the program"
        )


def _filesystem(url: str) -> Any:
    """fsspec keeps one of each kind, a new one in each process."""
    import fsspec

    scheme = url.partition("://")[0]
    try:
        found = fsspec.filesystem(scheme, **_patience(scheme, fsspec.config.conf.get(scheme, {})))
    except ImportError:
        raise UserError(
            f"{scheme}:// needs the package {PROTOCOLS[scheme]}: pip install {PROTOCOLS[scheme]}"
        ) from None
    if scheme == "s3":
        found.retries = 1
    return found


def _patience(scheme: str, of_user: Mapping[str, Any]) -> dict[str, Any]:
    """Options by which a library gives up in time, and leaves further tries to `_patiently`.

    botocore's 5 tries, in each of 5 of s3fs, in each of ours, would take hours where a store does not answer.

    Args:
        of_user: fsspec's own configuration of the scheme, which counts before these.
    """
    own: dict[str, Any]
    if PROTOCOLS[scheme] == "aiohttp":
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT, sock_read=_TIMEOUT)
        name, own = "client_kwargs", {"timeout": timeout}
    elif scheme == "s3":
        own = {
            "connect_timeout": _TIMEOUT,
            "read_timeout": _TIMEOUT,
            "retries": {"max_attempts": 0},
        }
        name = "config_kwargs"
    else:
        return {}
    return {name: {**own, **of_user.get(name, {})}}


def _fetch(url: str, start: int, stop: int) -> bytes:
    # not cat_file: it takes all that a server sends which knows no ranges
    with _filesystem(url).open(url, "rb", cache_type="none", size=_size(url)) as file:
        file.seek(start)
        content = bytes(file.read(stop - start))
    # some answers end where the connection does, even where it broke
    if len(content) != stop - start:
        raise OSError(f"{len(content)} of {stop - start} bytes came")
    return content


@functools.lru_cache(maxsize=4096)
def _size(url: str) -> int:
    """The size of a file: of a shard with thousands of members it is asked for once."""
    size = _patiently(url, lambda: _filesystem(url).info(url).get("size"))
    if size is None:
        raise OSError(f"{without_secrets(url)}: the server does not say how large it is")
    return int(size)


def _patiently(url: str, request: Any) -> Any:
    """Try a request again where another try may help."""
    for wait in (*_WAITS, None):
        try:
            return request()
        except UserError:
            raise
        except Exception as error:  # aiohttp, botocore and fsspec have families of their own
            if wait is None or not _may_pass(error):
                raise OSError(f"{without_secrets(url)}: {_said(error)}") from None
            time.sleep(wait)
    raise AssertionError


def _causes(error: BaseException | None) -> list[BaseException]:
    """An error and what it was raised from: fsspec calls much of what HTTP says "not found"."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__
    return found


def _status(error: BaseException) -> int | None:
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        status = getattr(cause, "status", None)
        if status is None and isinstance(response, dict):  # botocore's
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if isinstance(status, int):
            return status
    return None


def _may_pass(error: BaseException) -> bool:
    status = _status(error)
    if status is not None:
        return status in (408, 425, 429) or status >= 500
    last = _causes(error)[-1]
    return not (isinstance(last, FileNotFoundError | PermissionError | ValueError) or _lacks(last))


def _lacks(error: BaseException) -> bool:
    """Whether botocore found no credentials; it is not imported here."""
    return type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError")


def _said(error: BaseException) -> str:
    status = _status(error)
    if status is not None:
        what = {401: "no access", 403: "no access", 404: "missing file"}.get(status, "no answer")
        return f"{what} (HTTP status {status})"
    last = _causes(error)[-1]
    if isinstance(last, FileNotFoundError):
        return "missing file"
    if _lacks(last):
        return (
            "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE "
            "(FSSPEC_S3_ANON=true for what everybody may read)"
        )
    said = " ".join(str(last).split())
    # the text of a library may hold the URL with all that is in it
    said = re.sub(r"\S+://\S+", lambda found: without_secrets(found[0]), said)
    return f"no answer: {said[:200] or type(last).__name__}"
