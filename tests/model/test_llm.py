"""The language model: loading, LoRA, dtype, checkpointing, heads, search, end tokens."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedTokenizerFast,
)

from espnet_part.errors import ConfigError
from espnet_part.model.config import LLMConf, LoRAConf
from espnet_part.model.llm import LLM
from espnet_part.model.loss import labelled_loss
from espnet_part.model.tokenizer import answer_end_id, end_token_ids, load_tokenizer
from tests.model.tiny import QWEN2

SMALL = {key: QWEN2[key] for key in QWEN2 if key not in ("model_type", "tie_word_embeddings")}
FAMILIES: list[dict[str, Any]] = [
    QWEN2,
    {**SMALL, "model_type": "qwen3", "head_dim": 8},
    {**SMALL, "model_type": "llama"},
    {**SMALL, "model_type": "gemma2", "head_dim": 8, "final_logit_softcapping": 2.0},
    {**SMALL, "model_type": "granite", "logits_scaling": 3.0, "embedding_multiplier": 2.0},
    {**SMALL, "model_type": "cohere", "logit_scale": 0.3},
]


def make_llm(conf: dict[str, Any] | None = None, lora: LoRAConf | None = None, **more: Any) -> LLM:
    torch.manual_seed(0)
    return LLM.from_conf(LLMConf(**{"config": conf or QWEN2, "dtype": "float32", **more}), lora)


@pytest.mark.parametrize("chunk", [3, 1024])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f["model_type"])
def test_loss_equals_the_full_logit_loss(family: dict[str, Any], chunk: int) -> None:
    # Gemma 2 caps its attention scores, which SDPA cannot
    attention = "eager" if family["model_type"] == "gemma2" else "sdpa"
    llm = make_llm(family, LoRAConf(rank=2), attention=attention)
    ids = torch.randint(2, 97, (3, 9))
    mask = torch.arange(9) < torch.tensor([9, 5, 7])[:, None]
    labels = torch.where(mask & (torch.arange(9) > 2), ids, -100)
    for p in llm.parameters():
        p.requires_grad_(True)
    reference = llm.model(input_ids=ids, attention_mask=mask.long(), labels=labels)
    reference.loss.backward()
    gradients = {name: p.grad for name, p in llm.named_parameters()}
    llm.zero_grad()

    positions = torch.arange(9).expand(3, -1)
    hidden = llm.hidden(llm.embedding(ids), mask, positions)
    loss, row_loss, row_tokens, row_correct = labelled_loss(hidden, labels, llm.logits, chunk)
    count = int((labels != -100).sum())
    assert row_tokens.tolist() == [6, 2, 4] and int(row_tokens.sum()) == count
    torch.testing.assert_close(loss / count, reference.loss, atol=1e-5, rtol=0)
    torch.testing.assert_close(row_loss.sum(), loss.detach())
    best = reference.logits[:, :-1].argmax(-1)
    assert row_correct.tolist() == ((best == labels[:, 1:]).sum(1)).tolist()
    (loss / count).backward()
    for name, parameter in llm.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name], atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n} {m}"
        )


def test_head_runs_only_where_there_is_a_label() -> None:
    llm = make_llm()
    rows: list[int] = []
    llm.model.get_output_embeddings().register_forward_hook(
        lambda _, args, __: rows.append(args[0].shape[0])
    )
    labels = torch.full((2, 50), -100)
    labels[0, 30:33] = 5
    labelled_loss(torch.randn(2, 50, 32), labels, llm.logits)
    assert rows == [3]


def test_no_label_at_all_gives_zero_with_a_graph() -> None:
    llm = make_llm()
    hidden = torch.randn(2, 5, 32, requires_grad=True)
    loss, *_ = labelled_loss(hidden, torch.full((2, 5), -100), llm.logits)
    assert loss.item() == 0
    loss.backward()
    assert hidden.grad is not None and not hidden.grad.any()


def test_casts_leave_the_dtype_and_lora_is_float32() -> None:
    llm = make_llm(lora=LoRAConf(rank=2), dtype="bfloat16")
    outer = nn.ModuleDict({"llm": llm, "other": nn.Linear(2, 2)})
    before = {name: p.clone() for name, p in llm.named_parameters()}
    for cast in (lambda m: m.to(dtype=torch.float32), nn.Module.double, nn.Module.half):
        cast(outer)
        for name, p in llm.named_parameters():
            expected = torch.float32 if ".lora_" in name else torch.bfloat16
            assert p.dtype == expected, name
            assert torch.equal(p, before[name])
    assert outer["other"].weight.dtype == torch.float16
    assert llm.dtype == torch.bfloat16
    assert next(copy.deepcopy(llm).to("meta").parameters()).device.type == "meta"


def test_everything_starts_frozen() -> None:
    llm = make_llm(lora=LoRAConf(rank=2))
    assert not any(p.requires_grad for p in llm.parameters())


@pytest.mark.parametrize("copied", [False, True])
def test_gradient_checkpointing_is_on_for_a_frozen_llm(copied: bool) -> None:
    results = []
    for on in (False, True):
        llm = make_llm(gradient_checkpointing=on)
        original = llm
        if copied:
            llm = copy.deepcopy(llm)
        llm.eval()  # frozen modules run as in inference
        calls: list[str] = []
        for who, model in (("copy", llm), ("original", original)):
            model.model.model.layers[0].self_attn.register_forward_hook(
                lambda *_, who=who, calls=calls: calls.append(who)
            )
            if not copied:
                break
        embeddings = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(1))
        embeddings.requires_grad_(True)
        mask, positions = torch.ones(1, 4, dtype=torch.bool), torch.arange(4)[None]
        llm.hidden(embeddings, mask, positions).square().sum().backward()
        assert calls == ["copy"] * (2 if on else 1)
        results.append(embeddings.grad)
        with torch.no_grad():
            llm.hidden(embeddings, mask, positions)
        assert len(calls) == (3 if on else 2)  # nothing is recomputed without a graph
    torch.testing.assert_close(*results)


def test_peer_defect_05_a_lora_target_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError) as error:
        make_llm(lora=LoRAConf(targets=("q_proj", "query")))
    message = str(error.value)
    assert "'query'" in message and "q_proj" in message and "down_proj" in message


def test_lora_is_where_it_was_asked_for() -> None:
    llm = make_llm(lora=LoRAConf(rank=3, targets=("q_proj", "down_proj")))
    lora = {n: p.shape for n, p in llm.named_parameters() if ".lora_" in n}
    assert len(lora) == 2 * 2 * 2
    assert lora["model.model.layers.1.mlp.down_proj.lora_A.default.weight"] == (3, 48)


def test_loads_a_directory_in_its_dtype_and_forgets_chat_sampling(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = AutoModelForCausalLM.from_config(AutoConfig.for_model(**QWEN2))
    source.generation_config = GenerationConfig(
        eos_token_id=[7, 9], repetition_penalty=1.1, do_sample=True, temperature=0.7
    )
    source.save_pretrained(tmp_path)
    llm = LLM.from_conf(LLMConf(name=str(tmp_path), dtype="bfloat16"))
    assert llm.end_token_ids == [1, 7, 9]
    assert llm.dtype == torch.bfloat16
    expected = source.model.layers[0].mlp.up_proj.weight.bfloat16()
    assert torch.equal(llm.model.model.layers[0].mlp.up_proj.weight, expected)
    assert llm.base is not None and llm.base.fingerprint
    again = LLM.from_conf(LLMConf(name=str(tmp_path), dtype="bfloat16"))
    assert again.base == llm.base
    source.model.norm.weight.data += 1
    source.save_pretrained(tmp_path)
    changed = LLM.from_conf(LLMConf(name=str(tmp_path), dtype="bfloat16"))
    assert changed.base is not None and changed.base.fingerprint != llm.base.fingerprint


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks the kernel what is mapped")
def test_weights_in_their_files_dtype_stay_in_its_pages_which_processes_share(
    tmp_path: Path,
) -> None:
    source = AutoModelForCausalLM.from_config(AutoConfig.for_model(**QWEN2), dtype=torch.bfloat16)
    source.save_pretrained(tmp_path)
    llm = LLM.from_conf(LLMConf(name=str(tmp_path), dtype="bfloat16"))
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    pages = [
        [int(end, 16) for end in line[0].split("-")]
        for line in lines
        if line[-1] == str(tmp_path.resolve() / "model.safetensors")
    ]
    for name, weight in llm.named_parameters():
        assert any(first <= weight.data_ptr() < last for first, last in pages), name


@pytest.mark.parametrize("shown", [True, False])
def test_loading_draws_no_bar_and_leaves_the_setting(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], shown: bool
) -> None:
    from transformers.utils import logging

    AutoModelForCausalLM.from_config(AutoConfig.for_model(**QWEN2)).save_pretrained(tmp_path)
    before = logging.is_progress_bar_enabled()
    switch = {True: logging.enable_progress_bar, False: logging.disable_progress_bar}
    try:
        switch[shown]()
        capfd.readouterr()
        LLM.from_conf(LLMConf(name=str(tmp_path)))
        assert "Loading weights" not in capfd.readouterr().err
        assert logging.is_progress_bar_enabled() == shown
    finally:
        switch[before]()


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    source = AutoModelForCausalLM.from_config(AutoConfig.for_model(**QWEN2))
    source.config.save_pretrained(tmp_path)
    torch.save(source.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"has no model\.safetensors"):
        LLM.from_conf(LLMConf(name=str(tmp_path)))


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"name": "/nowhere/at/all"}, "no such model directory"),
        ({"config": {"model_type": "nonsense"}}, "nonsense"),
    ],
)
def test_unknown_models_are_errors(conf: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LLM.from_conf(LLMConf(**conf))


TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }} {{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant {% endif %}"
)


def make_tokenizer(template: str | None, **special: str) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["</s>", "<|start|>", "<|end|>", *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        **{
            "eos_token": "</s>",
            "additional_special_tokens": ["<|start|>", "<|end|>"],
            **special,
        },
    )
    tokenizer.chat_template = template
    return tokenizer


def test_peer_defect_07_end_tokens_and_a_pad_token_that_is_the_end_token(tmp_path: Path) -> None:
    make_tokenizer(TEMPLATE).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(LLMConf(config=QWEN2, tokenizer=str(tmp_path)))
    # the pad token is the end token: that must not hide the end token's label
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 0
    assert answer_end_id(tokenizer) == 2
    assert end_token_ids(tokenizer, 5, [6, 5]) == [0, 2, 5, 6]
    assert answer_end_id(make_tokenizer(None)) == 0


def test_a_tokenizer_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json"):
        load_tokenizer(LLMConf(config=QWEN2, tokenizer=str(tmp_path)))
    with pytest.raises(ConfigError, match="`tokenizer` is missing"):
        load_tokenizer(LLMConf(config=QWEN2))


@torch.no_grad()
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_beams_are_those_of_transformers_and_so_are_their_scores(length_penalty: float) -> None:
    llm = make_llm().eval()
    for parameter in llm.parameters():
        if parameter.dim() == 2:
            parameter.mul_(6)  # random weights at their usual scale hardly look at the input
    llm.end_token_ids = [1, *range(40, 60)]
    embeddings = torch.randn(3, 7, llm.dim)
    mask = torch.arange(7) >= torch.tensor([0, 3, 5])[:, None]
    reference = llm.model.generate(
        inputs_embeds=embeddings,
        attention_mask=mask.long(),
        generation_config=GenerationConfig(
            max_new_tokens=12, num_beams=4, do_sample=False, length_penalty=length_penalty,
            eos_token_id=llm.end_token_ids, pad_token_id=1, bos_token_id=1,
            output_scores=True, return_dict_in_generate=True,
        ),
    )  # fmt: skip
    ids, scores = llm.generate(embeddings, mask, torch.tensor([12] * 3), 4, length_penalty)
    for row, found in zip(reference.sequences.tolist(), ids, strict=True):
        ends = [i for i, token in enumerate(row) if token in llm.end_token_ids]
        assert found == row[: ends[0] if ends else 12]
    torch.testing.assert_close(
        torch.tensor(scores), reference.sequences_scores, atol=1e-4, rtol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize("beam_size", [1, 3])
def test_memory_does_not_grow_with_steps_times_vocabulary(beam_size: int) -> None:
    import gc

    llm = make_llm().eval()
    llm.end_token_ids = []
    held: list[int] = []

    def look(*_: Any) -> None:
        tensors = [o for o in gc.get_objects() if type(o) is Tensor and o.shape[-1:] == (97,)]
        held.append(sum(t.numel() for t in tensors))

    llm.model.get_output_embeddings().register_forward_hook(look)
    llm.generate(
        torch.randn(2, 4, 32), torch.ones(2, 4, dtype=torch.bool), torch.tensor([30, 30]), beam_size
    )
    assert len(held) >= 30 and max(held[20:30]) <= max(held[:10])


def test_the_embeddings_spread_is_that_of_what_the_layer_gives() -> None:
    gemma = make_llm({**SMALL, "model_type": "gemma3_text", "head_dim": 8, "hidden_size": 64})
    table = float(gemma.embedding.weight.std())
    assert gemma.embedding_std() == pytest.approx(8 * table, rel=0.01)  # times sqrt(64)
    qwen = make_llm()
    assert qwen.embedding_std() == pytest.approx(float(qwen.embedding.weight.std()), rel=1e-4)
