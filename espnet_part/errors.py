"""The errors that a command shows to its user as one line."""

from __future__ import annotations

import difflib
from typing import Any

from espnet_part.display import plain

AGAIN = 75
"""The exit status of what goes on when it is started again (EX_TEMPFAIL of sysexits.h)."""
_LONGEST = 2000


class UserError(Exception):
    """Something that the user can mend; the message says what and how, in one line or a list of them."""

    status = 1  # of the command that ends with it

    def __str__(self) -> str:
        # names and texts of others are in it, and it goes to terminals and logs
        return "\n".join(plain(line, _LONGEST) for line in super().__str__().split("\n"))


class ConfigError(UserError):
    """A configuration file or option is wrong."""


class DataError(UserError):
    """A data directory, an audio file or a checkpoint is wrong."""


def did_you_mean(wrong: str, known: Any, key: str | None = None, listed: bool = True) -> str:
    """Say that ``wrong`` is unknown, and the nearest of ``known`` or (``listed``) all of them."""
    # what is so much longer than any name is none of them, and comparing would take seconds
    close = difflib.get_close_matches(wrong[:200], [str(k) for k in known], n=1)
    mend = f"; did you mean `{close[0]}`?" if close else ""
    if not close and known and listed:
        mend = f"; known: {', '.join(str(k) for k in known)}"
    return f"unknown key `{plain(key or wrong, 100)}`{mend}"
