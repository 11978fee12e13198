"""Checkpoints are whole or absent; what is wrong with weights is said."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from espnet_part.errors import DataError
from espnet_part.files import is_disk_full
from espnet_part.train.checkpoint import (
    Checkpoint,
    before_bad_steps,
    find_checkpoints,
    first_whole,
    load_trained,
    put_back_replaced,
    read_checkpoint,
    remove_old,
    save_trained,
    write_checkpoint,
)


def read_newest(parent: Path) -> Checkpoint:
    directory = first_whole(find_checkpoints(parent))
    assert directory is not None
    return read_checkpoint(directory)


class Model(nn.Module):
    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.adapter = nn.Linear(2, size)

    def base_models(self) -> list[dict[str, Any]]:
        return []


def state(number: int) -> Checkpoint:
    weights = {"adapter.weight": torch.full((3, 2), float(number))}
    return Checkpoint(weights, {"optimizer": {}, "scheduler": None}, {"number": number})


def write_all(parent: Path, hours: dict[int, float]) -> None:
    """Checkpoints by the number of their step, and when they were written."""
    for number, hour in hours.items():
        write_checkpoint(parent / f"{number:08d}", state(number))
        os.utime(parent / f"{number:08d}/manifest.json", times=(0, 1e9 + 3600 * hour))


def test_the_newest_are_kept(tmp_path: Path) -> None:
    write_all(tmp_path, {5: 0, 10: 1, 15: 2})
    remove_old(tmp_path / "00000015", 2)
    assert [p.name for p in find_checkpoints(tmp_path)] == ["00000015", "00000010"]
    assert read_newest(tmp_path).state == {"number": 15}


def test_of_the_older_ones_those_stay_that_lie_hours_apart(tmp_path: Path) -> None:
    for number in range(1, 25):  # two an hour
        write_all(tmp_path, {number: number / 2})
        remove_old(tmp_path / f"{number:08d}", 2, 3.0)
    kept = [int(p.name) for p in reversed(find_checkpoints(tmp_path))]
    assert kept == [1, 7, 13, 19, 23, 24]


def test_what_is_damaged_is_not_kept_for_its_hour(tmp_path: Path) -> None:
    write_all(tmp_path, {1: 0, 2: 1, 3: 2})
    (tmp_path / "00000001/manifest.json").unlink()
    remove_old(tmp_path / "00000003", 1, 1e-3)
    assert [p.name for p in find_checkpoints(tmp_path)] == ["00000003", "00000002"]


def test_what_is_damaged_takes_no_whole_one_s_place(tmp_path: Path) -> None:
    """A run has gone on from step 10."""
    write_all(tmp_path, {10: 0, 15: 1, 20: 1, 11: 2})
    for damaged in ("00000015", "00000020"):
        (tmp_path / damaged / "weights.safetensors").unlink()
    remove_old(tmp_path / "00000011", 2)
    assert [p.name for p in find_checkpoints(tmp_path)] == ["00000011", "00000010"]


def of_steps(*steps: int) -> list[Path]:
    return [Path(f"checkpoints/{step:08d}") for step in sorted(steps, reverse=True)]


@pytest.mark.parametrize(
    ("kept", "phase", "good", "tried"),
    [
        pytest.param((300, 400, 500), 0, 520, (400, 300, 500), id="what is young is no better"),
        pytest.param((300, 400, 500), 0, 600, (500, 400, 300), id="just old enough"),
        pytest.param((440, 450), 0, 451, (440, 450), id="only younger ones: the oldest"),
        pytest.param((200, 300, 350), 300, 360, (300, 350), id="not into the phase before"),
        pytest.param((300, 400, 500), 0, 450, (300, 400, 500), id="of the way that was left"),
    ],
)
def test_from_bad_steps_a_run_goes_back_to_what_lies_well_before_them(
    kept: tuple[int, ...], phase: int, good: int, tried: tuple[int, ...]
) -> None:
    assert [int(c.name) for c in before_bad_steps(of_steps(*kept), phase, good)] == list(tried)


@given(kept=st.sets(st.integers(0, 1000)), phase=st.integers(0, 1000), steps=st.integers(0, 1000))
def test_to_go_back_there_is_each_checkpoint_of_the_phase_once(
    kept: set[int], phase: int, steps: int
) -> None:
    tried = [int(c.name) for c in before_bad_steps(of_steps(*kept), phase, phase + steps)]
    assert sorted(tried) == sorted(step for step in kept if step >= phase)
    old = [step for step in tried if step <= phase + steps - 100]
    assert not tried or tried[0] == (max(old) if old else min(tried))


def killed_at(event: int, work: Callable[[], None]) -> bool:
    """Do the work in a process that dies before its n-th change of files; whether it did."""
    child = os.fork()
    if child == 0:
        left = event

        def die(name: str, _: object) -> None:
            nonlocal left
            if name == "open" or name.startswith(("os.", "shutil.")):
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.addaudithook(die)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param((1,), 1, id="in the place of one of the same step"),
        pytest.param((1, 2), 3, id="after others"),
        pytest.param((1, 5), 3, id="having gone back"),
    ],
)
def test_a_kill_at_any_instant_leaves_a_whole_one_to_go_on_from(
    tmp_path: Path, before: tuple[int, ...], now: int
) -> None:
    def save(parent: Path, step: int, number: int) -> None:
        write_checkpoint(parent / f"{step:08d}", state(number))
        remove_old(parent / f"{step:08d}", 1)

    is_killed, event, found = True, 0, set()
    while is_killed:
        parent = tmp_path / str(event)
        for step in before:
            write_checkpoint(parent / f"{step:08d}", state(step))
        is_killed = killed_at(event, partial(save, parent, now, 9))
        put_back_replaced(parent)
        found.add(read_newest(parent).state["number"])
        save(parent, 10, 10)  # it goes on, and nothing is left behind
        assert [path.name for path in parent.iterdir()] == ["00000010"]
        event += 1
    assert event > 20
    assert found == {before[-1], 9}


def test_weights_can_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_trained(tmp_path / "a.safetensors", Model(), ["adapter.weight"], {})
        write_checkpoint(tmp_path / "00000005", state(5))
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.safetensors")]
    assert modes == [0o644, 0o644]


@pytest.mark.parametrize("failing", ["torch.save", "safetensors.torch.save_file", "json.dumps"])
def test_a_full_disk_leaves_the_checkpoints_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    write_checkpoint(tmp_path / "00000001", state(1))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"espnet_part.train.checkpoint.{failing}", full)
        with pytest.raises(DataError, match="no space left on the disk"):
            write_checkpoint(tmp_path / "00000002", state(2))
    assert [p.name for p in tmp_path.iterdir()] == ["00000001"]
    assert read_newest(tmp_path) is not None


def test_a_real_full_disk_is_recognised(tmp_path: Path) -> None:
    """The libraries wrap the system's error, each in its own way."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(Exception) as caught, full.open("wb") as file:
        torch.save({"a": torch.zeros(1 << 20)}, file)
    assert is_disk_full(caught.value)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.pt", "state.json"])
def test_a_flipped_bit_is_found(tmp_path: Path, name: str) -> None:
    for number in (1, 2):
        write_checkpoint(tmp_path / f"{number:08d}", state(number))
    file = tmp_path / "00000002" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(content)
    found = read_newest(tmp_path)
    assert found is not None
    assert found.state == {"number": 1}


@pytest.mark.parametrize("manifest", ["{}", "[]", "null", '{"/etc/passwd": "0"}', "[" * 9999])
def test_a_manifest_that_names_other_files_is_found(tmp_path: Path, manifest: str) -> None:
    for number in (1, 2):
        write_checkpoint(tmp_path / f"{number:08d}", state(number))
    (tmp_path / "00000002/manifest.json").write_text(manifest)
    found = read_newest(tmp_path)
    assert found is not None
    assert found.state == {"number": 1}


def test_only_damaged_checkpoints_are_an_error(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "00000001", state(1))
    (tmp_path / "00000001" / "optimizer.pt").unlink()
    with pytest.raises(DataError, match="all 1 checkpoints are damaged"):
        read_newest(tmp_path)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    bad = Checkpoint({}, {"optimizer": Bomb(), "scheduler": None}, {})
    write_checkpoint(tmp_path / "00000001", bad)
    with pytest.raises(Exception, match=r"weights_only|Unsupported"):
        read_newest(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_running_statistics_travel_with_the_norm_that_trained(tmp_path: Path) -> None:
    model, other = Model(), Model()
    model.encoder(torch.randn(8, 2))
    names = [name for name, _ in model.named_parameters()]
    save_trained(tmp_path / "m.safetensors", model, names, {})
    load_trained(other, tmp_path / "m.safetensors")
    for key, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor), key


def test_the_report_says_that_the_rest_is_as_in_the_base_models(tmp_path: Path) -> None:
    model = Model()
    save_trained(tmp_path / "m.safetensors", model, ["adapter.weight", "adapter.bias"], {})
    report = str(load_trained(model, tmp_path / "m.safetensors"))
    assert "loaded adapter 2 tensors; never trained, so as in the base models: encoder" in report


def test_a_missing_adapter_is_never_silent(tmp_path: Path) -> None:
    model = Model()
    save_trained(tmp_path / "m.safetensors", model, ["adapter.weight"], {})
    with pytest.raises(DataError, match=r"lacks 1 tensors of the adapter, such as adapter\.bias"):
        load_trained(model, tmp_path / "m.safetensors")


def test_another_shape_is_refused(tmp_path: Path) -> None:
    model = Model()
    save_trained(tmp_path / "m.safetensors", model, ["adapter.weight", "adapter.bias"], {})
    with pytest.raises(
        DataError, match=r"adapter\.bias has the shape \(3,\), the model's has \(4,\)"
    ):
        load_trained(Model(4), tmp_path / "m.safetensors")
