"""The errors that a command shows to its user as one line."""


class UserError(Exception):
    """Something that the user can mend; the message says what and how."""


class ConfigError(UserError):
    """A configuration file or option is wrong."""


class DataError(UserError):
    """A data directory, an audio file or a checkpoint is wrong."""
