"""Best and averaged models are those that the history says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from espnet_part.train.averaging import (
    average_best,
    average_last,
    model_file,
    phase_ends,
    ranked,
    update_links,
)
from espnet_part.weights import write_weights

ACC = ("valid", "acc", "max")
LOSS = ("valid", "loss", "min")


def entry(epoch: int, acc: float, loss: float, phase: str = "p") -> dict[str, object]:
    return {"epoch": epoch, "phase": phase, "valid": {"acc": acc, "loss": loss}, "train": {}}


HISTORY = [entry(1, 0.9, 1.0), entry(2, 0.5, 0.5), entry(3, 0.7, 2.0), entry(4, 0.8, 3.0)]


def write_models(directory: Path, epochs: range) -> None:
    for epoch in epochs:
        state = {"w": torch.tensor([float(epoch), 1.0]), "count": torch.tensor(epoch)}
        write_weights(model_file(directory, epoch), state, {})


def test_each_criterion_has_its_own_average(tmp_path: Path) -> None:
    """A sum that is shared between criteria or numbers would corrupt the later ones."""
    write_models(tmp_path, range(1, 5))
    average_best(tmp_path, HISTORY, [ACC, LOSS], [1, 3])
    assert load_file(tmp_path / "valid.acc.ave_1best.safetensors")["w"][0] == 1
    assert load_file(tmp_path / "valid.acc.ave_3best.safetensors")["w"][0] == pytest.approx(8 / 3)
    assert load_file(tmp_path / "valid.loss.ave_3best.safetensors")["w"][0] == 2
    assert load_file(tmp_path / "valid.loss.ave.safetensors")["w"][0] == 2
    assert load_file(tmp_path / "valid.loss.ave_3best.safetensors")["count"] == 2


def test_only_the_newest_phase_competes() -> None:
    history = [entry(1, 0.9, 1.0, "early"), entry(2, 0.1, 1.0), entry(3, 0.2, 1.0)]
    assert ranked(history, ACC) == [3, 2]


def test_nan_never_wins_and_ties_go_to_the_later() -> None:
    history = [entry(1, 0.5, float("nan")), entry(2, 0.5, 1.0)]
    assert ranked(history, LOSS) == [2]
    assert ranked(history, ACC) == [2, 1]


def test_other_models_are_removed_and_links_moved(tmp_path: Path) -> None:
    write_models(tmp_path, range(1, 5))
    improved = update_links(tmp_path, HISTORY, [ACC], 1)
    assert improved == []
    assert (tmp_path / "latest.safetensors").resolve() == model_file(tmp_path, 4).resolve()
    assert (tmp_path / "valid.acc.best.safetensors").resolve() == model_file(tmp_path, 1).resolve()
    assert {p.name for p in tmp_path.glob("*epoch.safetensors")} == {
        "1epoch.safetensors",
        "4epoch.safetensors",
    }


def test_the_last_model_of_each_phase_stays(tmp_path: Path) -> None:
    write_models(tmp_path, range(1, 6))
    first = [entry(1, 0.9, 1.0, "first"), entry(2, 0.1, 1.0, "first")]
    second = [entry(3, 0.2, 1.0, "second"), entry(4, 0.5, 1.0, "second")]
    history = [*first, *second, entry(5, 0.1, 1.0, "third")]
    assert phase_ends(history) == {"first": 2, "second": 4, "third": 5}
    update_links(tmp_path, history, [ACC], 1)
    assert {int(p.name[0]) for p in tmp_path.glob("*epoch.safetensors")} == {2, 4, 5}


def test_a_model_that_was_removed_makes_room_for_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest checkpoint was damaged, and its epoch has become worse when trained again."""
    write_models(tmp_path, range(1, 4))
    first = [entry(1, 0.9, 1.0), entry(2, 0.5, 1.0), entry(3, 0.7, 1.0)]
    update_links(tmp_path, first, [ACC], 2)
    assert not model_file(tmp_path, 2).exists()
    again = [*first[:2], entry(3, 0.4, 1.0)]
    assert update_links(tmp_path, again, [ACC], 2, keep_last=2) == []
    average_best(tmp_path, again, [ACC], [1, 2])
    assert load_file(tmp_path / "valid.acc.ave_2best.safetensors")["w"][0] == (1 + 3) / 2
    assert "epochs 2 are no more there" in caplog.text
    average_last(tmp_path, again, 2)
    assert load_file(tmp_path / "last.ave_2.safetensors")["w"][0] == 3


def test_where_all_models_are_there_nothing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_models(tmp_path, range(1, 5))
    update_links(tmp_path, HISTORY, [ACC, LOSS], 2, keep_last=2)
    average_best(tmp_path, HISTORY, [ACC, LOSS], [1, 2])
    average_last(tmp_path, HISTORY, 2)
    assert caplog.text == ""
