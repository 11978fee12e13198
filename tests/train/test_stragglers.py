"""Which processes are told to be slow."""

from __future__ import annotations

from espnet_part.train.stragglers import Spent, slow


def spent(*pairs: tuple[float, float]) -> list[Spent]:
    return [
        Spent(f"process {rank} on n{rank}", {"reading data": reading, "the forward pass": forward})
        for rank, (reading, forward) in enumerate(pairs)
    ]


def test_processes_alike_are_not_named() -> None:
    assert slow(spent((1.0, 10.0), (1.1, 10.5), (0.9, 11.0), (1.0, 9.0)), 20.0) == []


def test_the_slow_one_is_named_with_what_it_is_slow_at() -> None:
    assert slow(spent((1.0, 10.0), (1.0, 10.0), (9.0, 10.0), (1.0, 19.0)), 30.0) == [
        "process 2 on n2 makes the others wait: reading data took it 9.0 s of the last 30.0 s, and half of "
        "them at most 1.0 s",
        "process 3 on n3 makes the others wait: the forward pass took it 19.0 s of the last 30.0 s, and "
        "half of them at most 10.0 s",
    ]


def test_a_large_part_of_little_is_not_worth_a_line() -> None:
    assert slow(spent((0.01, 10.0), (0.5, 10.0)), 20.0) == []


def test_of_two_the_slower_one_is_named() -> None:
    assert len(slow(spent((1.0, 10.0), (5.5, 10.0)), 40.0)) == 1
