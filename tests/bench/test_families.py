"""The benchmark of families asks each for what vLLM can run, and a failure is a row of its table."""

import runpy
from pathlib import Path

import pytest
from transformers import AutoConfig

from espnet_part.decode.engines import vllm

BENCH = runpy.run_path(str(Path(__file__).parents[2] / "tools/bench/families.py"))


# without attention, and with heads of a size by layer
@pytest.mark.parametrize("family", sorted({*BENCH["FAMILIES"]} - {"mamba2", "gemma4_text"}))
def test_heads_are_of_a_size_that_vllm_has_on_cpus(family):
    config = AutoConfig.for_model(family, **BENCH["widened"](BENCH["FAMILIES"][family]))
    config = config.get_text_config()
    heads = getattr(config, "attention_head_dim", None) or getattr(config, "head_dim", None)
    assert (heads or config.hidden_size // config.num_attention_heads) % 32 == 0


def test_what_vllm_refuses_is_a_row(monkeypatch):
    monkeypatch.setenv(vllm.PYTHON, "/bin/false")
    assert BENCH["compare"]("qwen2") == "no: it said nothing"


def test_what_takes_too_long_is_a_row():
    assert BENCH["in_its_own_process"]("qwen2", 0.1) == "no: not done in 0.1 s"
