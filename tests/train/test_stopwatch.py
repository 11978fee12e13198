from __future__ import annotations

import time

import torch

from espnet_part.train.stopwatch import Stopwatch


def test_blocks_are_added_up_and_what_lies_between_is_not() -> None:
    watch = Stopwatch(torch.device("cpu"))
    assert watch.seconds() == 0.0
    begun = time.perf_counter()
    for _ in range(2):
        with watch.running():
            time.sleep(0.02)
    blocks = time.perf_counter() - begun
    time.sleep(0.02)
    assert 0.04 <= watch.seconds() <= blocks
