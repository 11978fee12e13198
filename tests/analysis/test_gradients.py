"""Inner products of gradients, against gradients taken one by one."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from espnet_part.analysis import gradients
from espnet_part.analysis.gradients import gradient_products, modules_of, training_batch
from espnet_part.analysis.groups import draw_batches
from espnet_part.data.datadir import Example
from espnet_part.errors import ConfigError


@pytest.fixture(scope="module")
def batches(model: Any, examples: list[Example]) -> list[Any]:
    drawn = draw_batches(examples, batches=2, batch_size=3, seed=0)
    return [training_batch(batch, model.prompts, model.chat)[0] for _, batch in drawn]


def direct(model: Any, batches: list[Any]) -> dict[str, np.ndarray]:
    """Backward passes as in training, and the products of what they leave in ``grad``."""
    model = copy.deepcopy(model)
    modules = modules_of(model)
    parameters = dict(model.named_parameters())
    rows: dict[str, list[np.ndarray]] = {module: [] for module in modules}
    for batch in batches:
        model.zero_grad()
        for names in modules.values():
            for name in names:
                parameters[name].requires_grad_(True)
        output = model(**batch)
        (output.loss / (batch["labels"] != -100).sum()).backward()
        for module, names in modules.items():
            grads = [
                torch.zeros_like(p) if p.grad is None else p.grad
                for p in map(parameters.get, names)
            ]
            rows[module].append(np.concatenate([g.double().numpy().ravel() for g in grads]))
    return {module: np.stack(found) @ np.stack(found).T for module, found in rows.items()}


def test_the_modules_are_what_part_trains(model: Any) -> None:
    modules = modules_of(model.model)
    assert list(modules) == ["encoder (rest)", "encoder.layers.0", "adapter", "llm.lora"]
    names = [name for group in modules.values() for name in group]
    assert len(set(names)) == len(names)
    left = {n for n, _ in model.model.named_parameters()} - set(names)
    assert left and all(n.startswith("llm.") or "embed_positions" in n for n in left)


def test_products_are_those_of_the_gradients(model: Any, batches: list[Any]) -> None:
    found = gradient_products(model.model, batches, len(batches))
    expected = direct(model.model, batches)
    assert set(found.products) == set(expected) and not any(found.sketched.values())
    for module, products in expected.items():
        scale = np.abs(products).max()
        assert scale > 0
        np.testing.assert_allclose(found.products[module], products, atol=1e-5 * scale)
    # the last groups read text alone: nothing of it passes the encoder or the adapter
    assert not np.any(found.products["adapter"][-2:]) and np.any(found.products["llm.lora"][-2:])
    assert not any(parameter.requires_grad for parameter in model.model.parameters())


def test_little_memory_gives_nearly_the_same(
    model: Any, batches: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"1e-05 GB are too little .* batches: at least"):
        gradient_products(model.model, batches, len(batches), memory=1e4)
    monkeypatch.setattr(gradients, "SMALLEST_SKETCH", 1000)
    exact = gradient_products(model.model, batches, len(batches))
    memory = 4 * len(batches) * len(exact.products) * 1200
    found = gradient_products(model.model, batches, len(batches), memory=memory)
    assert found.sketched["encoder.layers.0"] == 1200
    for module, products in exact.products.items():
        norms = np.sqrt(np.diag(products)) + 1e-12
        cosines = [p / np.outer(norms, norms) for p in (products, found.products[module])]
        assert np.abs(cosines[0] - cosines[1]).max() < 5 * (2 / 1200) ** 0.5


def test_bad_audio_is_named_and_left_out(model: Any, examples: list[Example]) -> None:
    import dataclasses

    bad = dataclasses.replace(examples[0], utt_id="gone", audio="/nowhere/x.wav")
    batch, faults = training_batch([bad, examples[1]], model.prompts, model.chat)
    assert [utt for utt, _ in faults] == ["gone"] and batch["utt_ids"] == [examples[1].utt_id]
