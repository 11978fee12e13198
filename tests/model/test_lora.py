"""LoRA and DoRA against PEFT's own, and merged into the weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from espnet_part.model.config import LoRAConf
from espnet_part.model.lora import inject_lora, merge_lora
from tests.model.tiny import LORA, QWEN2, make_batch, make_model

TARGETS = ("q_proj", "v_proj", "down_proj")


def make_llm(dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**QWEN2)).eval().to(dtype)


def change(model: nn.Module, prefix: str = "") -> None:
    """Give LoRA's matrices and DoRA's lengths other values, the same ones by name."""
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            seed = sum(map(ord, name.removeprefix(prefix)))
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
            parameter.data = (parameter.data if "magnitude" in name else 0) + 0.2 * noise


def run(model: Any) -> Tensor:
    return model(input_ids=torch.arange(2, 14).view(2, 6)).logits


@pytest.mark.parametrize("use_dora", [False, True])
def test_it_is_pefts_own(use_dora: bool) -> None:
    conf = LoRAConf(rank=4, alpha=8, targets=TARGETS, use_dora=use_dora)
    ours = make_llm()
    inject_lora(ours, conf)
    theirs = get_peft_model(
        make_llm(), LoraConfig(r=4, lora_alpha=8, target_modules=[*TARGETS], use_dora=use_dora)
    )
    prefix = "base_model.model."
    names = [name for name, _ in ours.named_parameters()]
    assert [n.removeprefix(prefix) for n, _ in theirs.named_parameters()] == names
    assert any("lora_magnitude_vector" in name for name in names) == use_dora
    assert torch.equal(run(ours), run(make_llm())) or use_dora
    torch.testing.assert_close(run(ours), run(make_llm()))
    for model in (ours, theirs):
        change(model, prefix)
        run(model).square().sum().backward()
    assert not torch.allclose(run(ours), run(make_llm()), atol=1e-2)
    torch.testing.assert_close(run(ours), run(theirs), atol=0, rtol=0)
    for name, parameter in theirs.named_parameters():
        if ".lora_" in name:
            assert parameter.grad is not None and parameter.grad.any(), name
            torch.testing.assert_close(
                ours.get_parameter(name.removeprefix(prefix)).grad, parameter.grad, atol=0, rtol=0
            )


def test_dora_starts_as_the_model_of_rounded_weights_is() -> None:
    plain, model = make_llm(torch.bfloat16), make_llm(torch.bfloat16)
    inject_lora(model, LoRAConf(rank=4, targets=TARGETS, use_dora=True))
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            assert parameter.dtype == torch.float32
            module = model.get_submodule(name.partition(".lora_")[0])
            lengths = module.base_layer.weight.float().norm(dim=1)
            torch.testing.assert_close(parameter.data, lengths)
    assert torch.equal(run(model), run(plain))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("use_dora", [False, True])
def test_merged_it_computes_the_same(use_dora: bool, dtype: torch.dtype) -> None:
    model = make_llm(dtype)
    plain = dict(make_llm(dtype).named_parameters())
    inject_lora(model, LoRAConf(rank=4, targets=TARGETS, use_dora=use_dora))
    change(model)
    exact = copy.deepcopy(model).float()
    expected = run(exact)
    assert merge_lora(model, torch.float32) == 2 * len(TARGETS)
    assert model.state_dict().keys() == make_llm().state_dict().keys()
    torch.testing.assert_close(run(model), expected, atol=1e-5, rtol=1e-4)
    merge_lora(exact, torch.bfloat16)  # rounded once
    for name, parameter in exact.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name).bfloat16()), name
        adapted = name.removesuffix(".weight").endswith(TARGETS)
        assert torch.equal(parameter, plain[name].bfloat16()) != adapted, name


def test_dora_of_a_speech_llm_trains_and_is_kept(tmp_path: Path) -> None:
    from espnet_part.schedule.selectors import select
    from espnet_part.train.checkpoint import load_trained, save_trained

    lora = {**LORA, "use_dora": True}
    model = make_model(lora_conf=lora).train()
    names = [name for name, _ in model.named_parameters()]
    chosen = select("llm.lora", names, list(model.protected))
    assert len(chosen) == 2 * 2 * 3
    for name in chosen:
        model.get_parameter(name).requires_grad_(True)
    batch = make_batch([[4000], [3000]])
    model(**batch).loss.backward()
    assert all(model.get_parameter(name).grad is not None for name in chosen)
    with torch.no_grad():
        for name in chosen:
            parameter = model.get_parameter(name)
            parameter.sub_(0.1 * parameter.grad)
    adapter = [name for name in names if name.startswith("adapter.")]
    save_trained(tmp_path / "weights.safetensors", model, [*chosen, *adapter], {})
    other = make_model(seed=0, lora_conf=lora).eval()
    with torch.no_grad():
        assert not torch.allclose(other(**batch).loss, model.eval()(**batch).loss)
        load_trained(other, tmp_path / "weights.safetensors")
        torch.testing.assert_close(other(**batch).loss, model.eval()(**batch).loss)
