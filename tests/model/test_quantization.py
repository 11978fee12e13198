"""LLMs in 4 bits: they compute, learn and are merged as the weights that their 4 bits stand for."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from espnet_part.errors import ConfigError
from espnet_part.model.config import LLMConf, LoRAConf
from espnet_part.model.llm import LLM
from espnet_part.model.lora import inject_lora, merge_lora
from espnet_part.model.protected import check_quantized
from tests.model.tiny import QWEN2, needs_bitsandbytes

WIDE = {
    **QWEN2,
    "hidden_size": 64,
    "intermediate_size": 128,
}  # more than one of bitsandbytes' blocks
TARGETS = ("q_proj", "down_proj")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("llm")
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**WIDE)).save_pretrained(path)
    return path


def quantized(directory: Path, dora: bool = False) -> LLM:
    conf = LLMConf(name=str(directory), dtype="float32", quantization="nf4")
    llm = LLM.from_conf(conf, LoRAConf(rank=4, targets=TARGETS, use_dora=dora)).eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in llm.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1, generator=generator)
        if "magnitude" in name:
            parameter.data.mul_(1.2)
    return llm


def dequantized(directory: Path, like: LLM, dora: bool = False) -> LLM:
    """The same with the values of the 4 bits in float32, by bitsandbytes' own function."""
    from bitsandbytes.functional import dequantize_4bit

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    inject_lora(model, LoRAConf(rank=4, targets=TARGETS, use_dora=dora))
    model.requires_grad_(False)
    held = dict(like.model.named_parameters())
    for name, parameter in model.named_parameters():
        state = getattr(held[name], "quant_state", None)
        parameter.data = (
            held[name].data.clone() if state is None else dequantize_4bit(held[name].data, state)
        )
    return LLM(model).eval()


def hidden(llm: LLM) -> torch.Tensor:
    torch.manual_seed(2)
    speech = torch.randn(2, 9, 64)
    mask, positions = torch.ones(2, 9, dtype=torch.bool), torch.arange(9).repeat(2, 1)
    return llm.hidden(speech, mask, positions)


@needs_bitsandbytes
@pytest.mark.parametrize("dora", [False, True])
def test_it_computes_and_learns_as_what_its_4_bits_stand_for(directory: Path, dora: bool) -> None:
    llm = quantized(directory, dora)
    plain = dequantized(directory, llm, dora)
    whole = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    query = "layers.0.self_attn.q_proj"
    rounded = plain.model.model.get_submodule(query).base_layer.weight
    exact = whole.model.get_submodule(query).weight
    assert 0.02 < (rounded - exact).norm() / exact.norm() < 0.2  # QLoRA's own loss
    gradients = []
    for model in (llm, plain):
        with torch.no_grad():
            hidden(model)  # bitsandbytes might turn the weights into others here
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(".lora_" in name)
        out = hidden(model)
        (out * torch.linspace(-1, 1, 64)).sum().backward()
        gradients.append(
            [out.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]
        )
    assert len(gradients[0]) == len(gradients[1]) > 8
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@needs_bitsandbytes
def test_it_holds_a_quarter_of_bfloat16_whatever_it_is_cast_to(directory: Path) -> None:
    llm = quantized(directory)
    matrices = WIDE["num_hidden_layers"] * 64 * (64 + 2 * 32 + 64 + 3 * 128)
    for cast in (llm.to(torch.float32), llm.to(torch.bfloat16)):
        held = {n: p for n, p in cast.named_parameters() if p.dtype == torch.uint8}
        assert all(".layers." in name for name in held)
        assert sum(parameter.nbytes for parameter in held.values()) == matrices / 2


@needs_bitsandbytes
@pytest.mark.parametrize("dora", [False, True])
def test_merged_it_is_an_ordinary_model_that_computes_the_same(
    directory: Path, tmp_path: Path, dora: bool
) -> None:
    llm = quantized(directory, dora)
    with torch.no_grad():
        before = hidden(llm)
        assert merge_lora(llm.model, torch.float32) == 2 * WIDE["num_hidden_layers"]
        torch.testing.assert_close(hidden(llm), before, rtol=1e-4, atol=1e-5)
        llm.model.save_pretrained(tmp_path)
        again = LLM.from_conf(LLMConf(name=str(tmp_path), dtype="float32")).eval()
        torch.testing.assert_close(hidden(again), before, rtol=1e-4, atol=1e-5)
    assert {p.dtype for p in again.parameters()} == {torch.float32}


def test_without_bitsandbytes_the_package_to_install_is_named(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espnet_part.model.quantization.load_bitsandbytes", lambda: False)
    conf = LLMConf(name=str(directory), quantization="nf4")
    with pytest.raises(ConfigError, match=r"pip install 'espnet_part\[qlora\]'"):
        LLM.from_conf(conf)


def test_random_weights_are_not_quantized() -> None:
    with pytest.raises(ValueError, match="give its `name`"):
        LLMConf(config=QWEN2, quantization="nf4")


def test_nothing_but_lora_trains() -> None:
    conf = LLMConf(name="x", quantization="nf4")
    weights = ["adapter.a", "llm.model.layers.0.q_proj.lora_A.default.weight"]
    check_quantized(conf, weights)
    base = "llm.model.layers.0.q_proj.base_layer.weight"
    with pytest.raises(ConfigError, match=r"learns through `llm\.lora` alone"):
        check_quantized(conf, [*weights, base])
    check_quantized(dataclasses.replace(conf, quantization=None), [*weights, base])


@needs_bitsandbytes
def test_no_kernel_of_the_hub_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text("print('asked for a kernel')\ndef get_kernel(*_): ...\n")
    code = (
        "from espnet_part.model.quantization import load_bitsandbytes\n"
        "assert load_bitsandbytes()\nimport peft, bitsandbytes, kernels\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "asked for a kernel\n"  # by this program's own import, and once
    assert "kernel" not in done.stderr
