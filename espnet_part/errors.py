"""The errors that a command shows to its user as one line."""

from __future__ import annotations

from espnet_part.display import plain

_LONGEST = 2000


class UserError(Exception):
    """Something that the user can mend; the message says what and how, in one line or a list of them."""

    def __str__(self) -> str:
        # names and texts of others are in it, and it goes to terminals and logs
        return "\n".join(plain(line, _LONGEST) for line in super().__str__().split("\n"))


class ConfigError(UserError):
    """A configuration file or option is wrong."""


class DataError(UserError):
    """A data directory, an audio file or a checkpoint is wrong."""
