"""What all tests share."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine is slow, which is no fault. In CI the same examples come each time; elsewhere new
# ones, and what one of them finds is kept until it is mended.
settings.register_profile(
    "espnet_part",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("espnet_part")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List skipped tests with their reasons, whatever the verbosity."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        where = report.nodeid.split("::")[0]
        reasons[f"{where}: {reason.removeprefix('Skipped: ')}"] += 1
    if reasons:
        terminalreporter.section("NOT checked (skipped)", yellow=True)
        for what, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count:4d} in {what}")
