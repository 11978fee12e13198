"""Watching for a step that hangs: what every thread of the process is doing goes to the log."""

from __future__ import annotations

import contextlib
import faulthandler
import sys
from collections.abc import Iterator


class Watch:
    """Writes the stacks of all threads to stderr where work takes too long; the work goes on.

    Args:
        minutes: that it may take; None for as long as it likes.
    """

    def __init__(self, minutes: float | None) -> None:
        self._seconds = None if minutes is None else 60 * minutes

    def begin(self) -> None:
        """Count from now on."""
        if self._seconds is not None:
            # without a stderr of the system's there is nobody to tell
            with contextlib.suppress(AttributeError, OSError, ValueError):
                faulthandler.dump_traceback_later(self._seconds, repeat=True, file=sys.stderr)

    def end(self) -> None:
        """Count no more."""
        faulthandler.cancel_dump_traceback_later()

    @contextlib.contextmanager
    def ended(self) -> Iterator[None]:
        """Count no more when the block ends, however that is."""
        try:
            yield
        finally:
            self.end()
