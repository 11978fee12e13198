"""Who may ask."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

from espnet_part.errors import ConfigError
from espnet_part.serve.errors import ApiError

_SHORTEST = 8  # characters of a key


class Keys:
    """The keys that open a server; without any, it is open to all who reach it.

    Only their hashes are kept, which are all of one length; all of them are compared, in a time that
    does not depend on what was given.
    """

    def __init__(self, keys: list[str]):
        self._hashes = [_hash(key) for key in keys]

    @classmethod
    def load(cls, path: str | None) -> Keys:
        """Read a key a line; empty lines and those that start with # do not count.

        Raises:
            ConfigError: no such file, no key, or one that is too short or holds spaces.
        """
        if path is None:
            return cls([])
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--api_keys {path}: cannot be read: {error}") from None
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not keys:
            raise ConfigError(f"--api_keys {path}: no key in it; write one a line")
        for number, line in enumerate(lines, 1):
            key = line.strip()
            if key in keys and (len(key) < _SHORTEST or len(key.split()) > 1 or not key.isascii()):
                raise ConfigError(
                    f"--api_keys {path}: line {number}: a key is {_SHORTEST} or more ASCII characters "
                    "without spaces, such as the output of `openssl rand -hex 24`"
                )
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def check(self, authorization: str | None) -> None:
        """Check the header ``Authorization``.

        Raises:
            ApiError: 401.
        """
        if not self:
            return
        scheme, _, key = (authorization or "").partition(" ")
        given = _hash(key.strip() if scheme.lower() == "bearer" else "")
        # no early end: each is compared
        if not sum([hmac.compare_digest(given, known) for known in self._hashes]):
            what = "a wrong API key" if key else "no API key"
            raise ApiError(401, f"{what}: send `Authorization: Bearer KEY`", "invalid_api_key")


def check_origin(headers: Mapping[str, str]) -> None:
    """Pages of others, which a browser on this machine may have open, cannot use the server.

    Raises:
        ApiError: 403.
    """
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        raise ApiError(403, "not for pages of other hosts", "foreign_origin")


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
