"""What all tests share."""

from __future__ import annotations

import os

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
