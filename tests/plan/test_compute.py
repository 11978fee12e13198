"""Counted arithmetic against torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from espnet_part.model import loss
from espnet_part.plan import compute
from espnet_part.plan.batch import Example, Rates, make_batch
from espnet_part.plan.compute import batch_flops
from espnet_part.plan.operations import describe_model
from tests.model.tiny import byte_tokenizer
from tests.plan.measure import ADAPTER, PHASES, QFORMER, small_batch, small_config, small_model

RATES = Rates(50, lambda states: -(-states // 2))


@pytest.mark.parametrize("adapter", ["transformer_cnn", "normed", "linear"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("phase", PHASES)
def test_equals_torchs_counter(phase: str, checkpointing: bool, adapter: str) -> None:
    changes = {}
    if adapter == "linear":
        changes = {"speech_adapter": "linear", "speech_adapter_conf": {"stack": 2, "hidden": 70}}
    if adapter == "normed":
        own = {"input_norm": True, "positions": "convolutional", "position_kernel": 11}
        changes = {"speech_adapter_conf": {**ADAPTER, **own}}
    cfg = small_config(checkpointing, **changes)
    model, trained = small_model(cfg, phase)
    batch, described = small_batch([48000, 40000, 47000])
    # the fused kernels of the CPU are not counted by torch
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        with torch.autocast("cpu", torch.bfloat16):
            output = model(**batch)
        forward = counter.get_total_flops()
        output.loss.backward()
    counted = batch_flops(describe_model(cfg), trained, described)
    assert counted.forward == pytest.approx(forward, rel=0.02)
    # of the weights' gradient of a grouped convolution torch counts the groups' product more than once
    tolerance = 0.06 if adapter == "normed" else 0.03
    assert counted.total == pytest.approx(counter.get_total_flops(), rel=tolerance)
    assert (counted.again > 0) == checkpointing


@pytest.mark.parametrize("phase", ["adapter", "joint"])
def test_a_qformer_equals_torchs_counter(phase: str) -> None:
    cfg = small_config(**QFORMER)
    model, trained = small_model(cfg, phase)
    plan = describe_model(cfg)
    batch, described = small_batch([48000] * 3, plan)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        output = model(**batch)
        forward = counter.get_total_flops()
        output.loss.backward()
    counted = batch_flops(plan, trained, described)
    assert counted.forward == pytest.approx(forward, rel=0.002)
    assert counted.total == pytest.approx(counter.get_total_flops(), rel=0.002)


@pytest.mark.parametrize("phase", ["adapter", "encoder_all"])
def test_a_phase_without_answers_equals_torchs_counter(phase: str) -> None:
    spells = {**ADAPTER, "characters": " abc"}
    cfg = small_config(speech_adapter="ctc_spelling", speech_adapter_conf=spells)
    model, trained = small_model(cfg, phase)
    model.adapter.read_llm(torch.nn.Embedding(400, model.llm.dim), byte_tokenizer())
    batch, described = small_batch([48000] * 3)
    model.train()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        counted = {}
        for answers in (False, True):
            model.answers = answers
            before = counter.get_total_flops()
            model(**batch, transcripts=["ab", "c", None]).loss.backward()
            counted[answers] = counter.get_total_flops() - before
    plan = describe_model(cfg)
    alone = batch_flops(plan.without_answers(), trained, described).total
    # the projection runs for each token that is read; they are fewer than the states
    assert alone == pytest.approx(counted[False], rel=0.05)
    assert batch_flops(plan, trained, described).total > 1.2 * alone
    assert counted[True] > counted[False]


def test_the_chunk_of_labels_is_the_losss() -> None:
    assert compute.LABEL_CHUNK == loss.CHUNK


def test_many_labels_are_scored_again() -> None:
    model = describe_model(small_config())
    few = batch_flops(model, {"adapter.conv.weight"}, make_batch(Example(2, 20, 10), 100, RATES))
    many = batch_flops(model, {"adapter.conv.weight"}, make_batch(Example(2, 20, 10), 110, RATES))
    assert few.again == 0
    assert many.again == 2 * 1100 * model.head.inputs * model.head.outputs


def test_what_is_below_the_lowest_trained_operation_has_no_backward_pass() -> None:
    model = describe_model(small_config())
    batch = make_batch(Example(10, 20, 10), 4, RATES)
    last = batch_flops(model, {"llm.model.model.norm.weight"}, batch)
    head = 2 * 40 * model.head.inputs * model.head.outputs
    assert last.backward == head
