"""What audio is fast to read together, from its entry of wav.scp alone."""

from __future__ import annotations

import pytest

from espnet_part.data.sources import region

FAR = 1 << 30


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("a.flac", "b.flac", False),
        ("a.ark:7", "a.ark:70000", True),
        ("a.ark:7", "b.ark:7", False),
        ("a.ark:7", f"a.ark:{FAR}", False),
        ("s3://b/a.tar:512:9", "s3://b/a.tar:5120:99", True),
        ("a.tar:512:9", f"a.tar:{FAR}:9", False),
        (f"a.ark:{'1' * 5000}", "a.ark:1", False),
    ],
)
def test_the_same_file_or_near_in_a_large_one(one: str, other: str, together: bool) -> None:
    assert (region(one) == region(other)) is together
