"""The whole model: loss, gradients, batches of all kinds, decoding."""

from __future__ import annotations

import pytest
import torch

from espnet_part.model.speech_llm import SpeechLLM
from tests.model.tiny import LORA, QWEN2, WHISPER, make_batch, make_model, take_row

MIXED = [[4000, 1600], [], [9000], [333]]


def thaw(model: SpeechLLM, *parts: str) -> list[str]:
    """Make trainable what starts with one of ``parts`` or is LoRA's; gives the names."""
    names = []
    for name, p in model.named_parameters():
        lora = ".lora_" in name
        if "embed_positions" in name:
            continue
        if (lora and "lora" in parts) or (not lora and name.split(".")[0] in parts):
            p.requires_grad_(True)
            names.append(name)
    return names


@pytest.mark.parametrize("adapter", ["transformer_cnn", "linear"])
def test_peer_defect_01_a_row_s_loss_does_not_depend_on_the_batch(adapter: str) -> None:
    conf = {"speech_adapter_conf": {}} if adapter == "linear" else {}
    model = make_model(speech_adapter=adapter, **conf)
    batch = make_batch(MIXED)
    out = model(**batch, utt_id=["extra", "keys", "are", "ignored"])
    torch.testing.assert_close(out.row_loss.sum(), out.loss.detach())
    for row in range(len(MIXED)):
        alone = model(**take_row(batch, row))
        torch.testing.assert_close(out.row_loss[row], alone.loss, atol=1e-4, rtol=1e-5)
        assert out.row_tokens[row] == alone.row_tokens[0]
        assert out.row_correct[row] == alone.row_correct[0]


def test_equals_transformers_on_the_spliced_embeddings() -> None:
    model = make_model()
    batch = make_batch(MIXED)
    prompt, _ = model.read(**batch)
    reference = model.llm.model(
        inputs_embeds=prompt.embeddings, attention_mask=prompt.mask.long(), labels=prompt.labels
    )
    out = model(**batch)
    torch.testing.assert_close(out.loss / out.row_tokens.sum(), reference.loss)


def test_kept_encoder_states_give_the_same_loss() -> None:
    model = make_model()
    batch = make_batch(MIXED)
    expected = model(**batch)
    speech, lengths = batch.pop("speech"), batch.pop("speech_lengths")
    feats = model.collect_feats(speech=speech, speech_lengths=lengths)
    kept = {"encoder_out": feats["feats"], "encoder_out_lengths": feats["feats_lengths"]}
    torch.testing.assert_close(model(**batch, **kept).loss, expected.loss)


@pytest.mark.parametrize("clips", [MIXED, [[], []]], ids=["mixed", "text_only"])
@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("parts", [("adapter",), ("encoder", "adapter", "lora")])
def test_every_trainable_parameter_has_a_gradient(
    clips: list[list[int]], labelled: bool, parts: tuple[str, ...]
) -> None:
    model = make_model().train()
    names = thaw(model, *parts)
    out = model(**make_batch(clips, labelled=labelled))
    out.loss.backward()
    for name, p in model.named_parameters():
        assert (p.grad is not None) == (name in names), name
        if p.grad is not None and "k_proj.bias" not in name:
            speech_side = name.startswith(("encoder", "adapter"))
            reached = labelled and not (speech_side and clips != MIXED)
            assert bool(p.grad.any()) == reached, name


def test_text_only_batch_has_the_loss_of_its_text() -> None:
    model = make_model()
    batch = make_batch([[], []])
    frozen = model(**batch).loss
    thaw(model, "encoder", "adapter")
    torch.testing.assert_close(model(**batch).loss, frozen)
    empty = {
        "speech": torch.zeros(0, 0),
        "speech_lengths": torch.zeros(0, dtype=torch.long),
        "speech_row": torch.zeros(0, dtype=torch.long),
        "speech_position": torch.zeros(0, dtype=torch.long),
    }
    torch.testing.assert_close(model(**batch, **empty).loss, frozen)


@pytest.mark.parametrize("trains", [False, True])
def test_in_step_every_batch_runs_encoder_and_adapter_once(trains: bool) -> None:
    model = make_model()
    model.in_step = True
    spoken, text = make_batch(MIXED), make_batch([[], []])
    expected = [float(model(**batch).loss) for batch in (spoken, text, spoken)]
    if trains:
        thaw(model, "adapter")
    states, lengths = model.encoder(spoken.pop("speech"), spoken.pop("speech_lengths"))
    cached = {**spoken, "encoder_out": states, "encoder_out_lengths": lengths}
    ran: list[str] = []
    for name in ("encoder", "adapter", "llm.model.model"):
        module = model.get_submodule(name)
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    for batch, loss in zip((make_batch(MIXED), text, cached), expected, strict=True):
        ran.clear()
        out = model(**batch)
        assert ran == ["encoder", "adapter", "llm.model.model"]
        assert float(out.loss.detach()) == pytest.approx(loss)
        assert out.loss.requires_grad == trains


def test_everything_starts_frozen_and_names_tell_the_parts() -> None:
    model = make_model()
    assert not any(p.requires_grad for p in model.parameters())
    names = {name for name, _ in model.named_parameters()}
    assert {name.split(".")[0] for name in names} == {"encoder", "adapter", "llm"}
    assert "encoder.layers.1.fc1.weight" in names
    assert sum(".lora_" in name for name in names) == 8


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16(autocast: bool) -> None:
    reference = make_model()
    model = make_model(llm_conf={"config": QWEN2, "dtype": "bfloat16"})
    model.load_state_dict({k: v.clone() for k, v in reference.state_dict().items()})
    model.to(dtype=torch.float32)  # as ESPnet does
    assert model.llm.dtype == torch.bfloat16
    thaw(model, "adapter", "lora")
    batch = make_batch(MIXED)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out = model(**batch)
    assert out.loss.dtype == out.row_loss.dtype == torch.float32
    expected = reference(**batch).loss
    torch.testing.assert_close(out.loss, expected, atol=0, rtol=0.05)
    out.loss.backward()
    for p in model.parameters():
        assert (p.grad is not None) == p.requires_grad
        if p.grad is not None:
            assert p.grad.isfinite().all() and p.grad.dtype == torch.float32


def test_gradient_checkpointing_everywhere_changes_nothing() -> None:
    batch = make_batch(MIXED)
    gradients = []
    for on in (False, True):
        model = make_model(
            encoder_conf={"config": WHISPER, "gradient_checkpointing": on},
            llm_conf={"config": QWEN2, "dtype": "float32", "gradient_checkpointing": on},
        )
        thaw(model, "encoder", "adapter", "lora")
        model(**batch).loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-4, rtol=1e-3)


def test_peer_defect_07_the_end_token_is_learnt_although_it_is_the_padding() -> None:
    model = make_model()
    batch = make_batch([[], []])
    row, length = 0, int(batch["input_lengths"][0])
    batch["input_ids"][row, length - 1] = batch["labels"][row, length - 1] = 1  # also the padding
    out = model(**batch)
    assert int(out.row_tokens[row]) == length - 4
    # the same ids behind the end carry no loss and change nothing
    shorter = take_row(batch, row)
    torch.testing.assert_close(out.row_loss[row], model(**shorter).loss, atol=1e-4, rtol=1e-5)


def test_names_its_base_models() -> None:
    model = make_model(lora_conf=LORA)
    bases = model.base_models()
    assert [b["part"] for b in bases] == ["encoder", "llm"]
    assert all(b["name"] is None and b["config_sha256"] for b in bases)
