"""Counted memory against what torch keeps."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from espnet_part.plan.batch import Example, Rates, make_batch
from espnet_part.plan.memory import (
    Training,
    batch_memory,
    saved_activations,
    weight_bytes,
    weight_casts,
)
from espnet_part.plan.operations import describe_model
from tests.model.tiny import needs_bitsandbytes
from tests.plan.measure import (
    LLM,
    MOE,
    PHASES,
    QFORMER,
    measured_saved_bytes,
    small_batch,
    small_config,
    small_model,
)
from tests.train.tiny import make_tokenizer

RATES = Rates(50, lambda states: -(-states // 2))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("samples", [[48000] * 3, [48000, 47000, 30000]], ids=["full", "padded"])
def test_activations_are_what_autograd_keeps(phase: str, samples: list[int]) -> None:
    cfg = small_config()
    model, trained = small_model(cfg, phase)
    batch, described = small_batch(samples)
    plan = describe_model(cfg)
    counted = sum(saved_activations(plan, trained, described, amp=True).values())
    counted += weight_casts(plan, trained) + 4 * described.labels * plan.head.outputs
    assert counted == pytest.approx(measured_saved_bytes(model, batch), rel=0.12)


@pytest.mark.parametrize("phase", PHASES)
def test_a_checkpointed_layer_keeps_its_input(phase: str) -> None:
    cfg = small_config(checkpointing=True)
    model, trained = small_model(cfg, phase)
    batch, described = small_batch([48000] * 3)
    plan = describe_model(cfg)
    counted = sum(saved_activations(plan, trained, described, amp=True).values())
    counted += 4 * described.labels * plan.head.outputs
    counted += weight_casts(plan, trained, checkpointed=False)
    assert counted == pytest.approx(measured_saved_bytes(model, batch), rel=0.2)


@pytest.mark.parametrize("phase", ["adapter", "joint"])
@pytest.mark.parametrize("adapter", [QFORMER, MOE], ids=["qformer", "moe"])
def test_another_adapter_keeps_what_autograd_keeps(adapter: dict[str, Any], phase: str) -> None:
    cfg = small_config(**adapter)
    model, trained = small_model(cfg, phase)
    plan = describe_model(cfg)
    batch, described = small_batch([48000, 47000, 30000], plan)
    counted = sum(saved_activations(plan, trained, described, amp=True).values())
    counted += weight_casts(plan, trained) + 4 * described.labels * plan.head.outputs
    assert counted == pytest.approx(measured_saved_bytes(model, batch), rel=0.12)


def test_other_families_and_dtypes() -> None:
    for llm in (
        {"model_type": "qwen3", "head_dim": 24},
        {"model_type": "llama"},
        {"model_type": "mistral"},
        {"model_type": "gemma3_text", "head_dim": 24},
    ):
        cfg = small_config(llm=llm)
        model, trained = small_model(cfg, "adapter")
        batch, described = small_batch([48000] * 3)
        plan = describe_model(cfg)
        counted = sum(saved_activations(plan, trained, described, amp=True).values())
        counted += weight_casts(plan, trained) + 4 * described.labels * plan.head.outputs
        assert counted == pytest.approx(measured_saved_bytes(model, batch), rel=0.2)


@pytest.mark.parametrize("phase", PHASES)
def test_weights_gradients_and_optimizer_are_torchs(phase: str) -> None:
    cfg = small_config()
    model, trained = small_model(cfg, phase)
    plan = describe_model(cfg)
    for part in ("encoder", "adapter", "llm"):
        own = [p for name, p in model.named_parameters() if name.startswith(f"{part}.")]
        assert weight_bytes(plan, part, trained) == sum(p.nbytes for p in own)
    batch, described = small_batch([48000] * 2)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch).loss
    loss.backward()
    gradients = sum(p.grad.nbytes for p in parameters if p.grad is not None)
    optimizer.step()
    states = [
        t.nbytes
        for state in optimizer.state.values()
        for name, t in state.items()
        if name != "step"
    ]
    memory = batch_memory(plan, trained, described, Training())
    assert memory.gradients == gradients
    assert memory.optimizer == sum(states)
    llm = sum(p.nbytes for p in model.llm.parameters())
    assert memory.llm_weights == llm > 0


def test_what_another_phase_of_the_stage_trains_is_float32_already() -> None:
    plan = describe_model(small_config())
    llm = [name for name in plan.shapes if name.startswith("llm.") and ".lora_" not in name]
    batch = make_batch(Example(2, 20, 10), 4, RATES)
    plain, held = (
        batch_memory(plan, {"adapter.conv.weight"}, batch, Training(held=names))
        for names in (frozenset(), frozenset(llm))
    )
    values = sum(math.prod(plan.shapes[name]) for name in llm)
    assert held.llm_weights == plain.llm_weights + 2 * values
    assert held.casts > plain.casts
    assert (held.gradients, held.optimizer) == (plain.gradients, plain.optimizer)


def test_ddp_without_views_holds_gradients_twice() -> None:
    plan = describe_model(small_config())
    trained = {"adapter.conv.weight"}
    batch = make_batch(Example(2, 20, 10), 4, RATES)
    size = 4 * math.prod(plan.shapes["adapter.conv.weight"])

    def gradients(**options: object) -> float:
        return batch_memory(plan, trained, batch, Training(**options)).gradients  # type: ignore[arg-type]

    assert gradients() == gradients(gpus=8) == gradients(bucket_view=False) == size
    assert gradients(gpus=8, bucket_view=False) == 2 * size


def test_gpus_that_share_a_model_hold_a_share_and_the_blocks_that_run() -> None:
    cfg = small_config()
    model, trained = small_model(cfg, "joint")
    plan = describe_model(cfg)
    batch = make_batch(Example(2, 20, 10), 4, RATES)
    alone, shared = (
        batch_memory(plan, trained, batch, Training(gpus=4, sharded=sharded))
        for sharded in (False, True)
    )
    for part in ("encoder_weights", "adapter_weights", "llm_weights", "gradients", "optimizer"):
        assert getattr(shared, part) == getattr(alone, part) / 4
    assert shared.activations == alone.activations
    sizes: dict[torch.nn.Parameter, int] = {}  # by what it is gathered with: the innermost
    units = [model, *model.shards]
    for number, unit in enumerate(units):
        sizes |= dict.fromkeys(unit.parameters(), number)
    weights, gradients = [0] * len(units), [0] * len(units)
    for parameter, number in sizes.items():
        weights[number] += parameter.nbytes
        gradients[number] += 2 * parameter.nbytes * parameter.requires_grad
    largest = max(3 * w + g for w, g in zip(weights[1:], gradients[1:], strict=True))
    assert shared.gathered == weights[0] + gradients[0] + largest
    assert alone.gathered == 0


def test_the_peak_is_the_larger_of_backward_pass_and_optimizer() -> None:
    plan = describe_model(small_config())
    batch = make_batch(Example(2, 20, 10), 4, RATES)
    memory = batch_memory(plan, {"adapter.conv.weight"}, batch, Training(), reserve=1000.0)
    backward = memory.casts + memory.activations + memory.scores + memory.working
    assert memory.peak == memory.fixed + backward
    assert replace(memory, optimizer_step=1e12).peak == memory.fixed + 1e12


def test_memory_grows_with_the_batch_alone() -> None:
    plan = describe_model(small_config())
    trained = {"adapter.conv.weight", "encoder.layers.0.fc1.weight"}
    one, two = (
        batch_memory(plan, trained, make_batch(Example(2, 20, 10), n, RATES), Training())
        for n in (4, 8)
    )
    assert one.fixed == two.fixed
    assert two.activations == pytest.approx(2 * one.activations)


def test_text_alone_leaves_the_encoder_half_a_second_of_silence() -> None:
    plan = describe_model(small_config())
    batch = make_batch(Example(0, 60, 20), 50, RATES)
    assert batch.positions("encoder") == 25
    assert batch.positions("adapter") == 13
    assert batch.positions("llm") == 50 * 80
    kept = saved_activations(plan, {"encoder.conv1.weight"}, batch, amp=True)
    assert 0 < kept["encoder"] < kept["llm"]


@needs_bitsandbytes
def test_a_quantized_llm_takes_what_bitsandbytes_holds(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    wide = {**LLM, "hidden_size": 256, "intermediate_size": 1024, "vocab_size": 320}
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**wide)).save_pretrained(tmp_path)
    llm_conf = {"name": str(tmp_path), "dtype": "bfloat16", "quantization": "nf4"}
    cfg = small_config(llm_conf=llm_conf)
    model, trained = small_model(cfg, "joint")
    plan = describe_model(cfg)
    held = 0
    for parameter in model.llm.parameters():
        held += parameter.nbytes
        if state := getattr(parameter, "quant_state", None):
            held += state.absmax.nbytes + state.state2.absmax.nbytes  # tables apart, of each matrix
    assert weight_bytes(plan, "llm", trained) == pytest.approx(held, rel=0.01)
    batch, described = small_batch([48000] * 3)
    counted = sum(saved_activations(plan, trained, described, amp=True).values())
    counted += weight_casts(plan, trained) + 4 * described.labels * plan.head.outputs
    assert counted == pytest.approx(measured_saved_bytes(model, batch), rel=0.12)
    plain = describe_model(small_config(llm_conf={"name": str(tmp_path), "dtype": "bfloat16"}))
    matrix = batch_memory(plan, trained, described, Training(amp=True)).working
    assert matrix - batch_memory(plain, trained, described, Training(amp=True)).working == 2**19
