"""What a server allows."""

from __future__ import annotations

import pydantic
from pydantic.dataclasses import dataclass

MEGABYTE = 2**20


@dataclass(frozen=True, kw_only=True, config=pydantic.ConfigDict(extra="forbid"))
class Settings:
    """Limits of a server.

    Attributes:
        max_upload_mb: megabytes (2^20 bytes) of a file.
        max_duration: seconds of audio in a file or a stream.
        request_timeout: seconds that a file may take, from the first byte to the answer.
        idle_timeout: seconds for which a client that is to send may be silent.
        queue_size: files and streams at once, and windows that wait to be decoded.
        batch_size: windows of like length that are taken in turn together; so many are decoded at once,
            unless the model has a budget of positions.
        partial_seconds: seconds between two guesses at what is being said, of a stream.
        grace: seconds that requests have to end when the server is stopped.
    """

    max_upload_mb: float = 1024.0
    max_duration: float = 6 * 3600.0
    request_timeout: float = 3600.0
    idle_timeout: float = 30.0
    queue_size: int = 64
    batch_size: int = 8
    partial_seconds: float = 2.0
    grace: float = 30.0

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if not 0 < value < float("inf"):
                raise ValueError(f"`{key}` must be more than 0 (got {value})")

    @property
    def max_upload(self) -> int:
        """Bytes of a file."""
        return round(self.max_upload_mb * MEGABYTE)
