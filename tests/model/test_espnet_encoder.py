"""ESPnet's encoders against the ASR (or S2T) model that they come from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from espnet2.tasks.asr import ASRTask
from espnet2.tasks.s2t import S2TTask

from espnet_part.errors import ConfigError
from espnet_part.model.encoders.espnet.conf import ESPnetEncoderConf
from espnet_part.model.encoders.espnet.module import ESPnetEncoder
from tests.model.tiny import make_batch, make_model

SIZES = {"output_size": 16, "attention_heads": 2, "linear_units": 24, "num_blocks": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "transformer": {"encoder": "transformer", "encoder_conf": SIZES},
    "conformer": {
        "encoder": "conformer",
        "encoder_conf": {**SIZES, "rel_pos_type": "latest", "cnn_module_kernel": 5},
    },
    "conformer6": {
        "encoder": "conformer",
        "encoder_conf": {**SIZES, "input_layer": "conv2d6", "rel_pos_type": "latest"},
        "frontend_conf": {"hop_length": 160, "n_fft": 400, "fs": "16k"},
        "normalize": "utterance_mvn",
    },
    "e_branchformer": {
        "encoder": "e_branchformer",
        "encoder_conf": {
            **SIZES,
            "attention_layer_type": "rel_selfattn",
            "pos_enc_layer_type": "rel_pos",
            "rel_pos_type": "latest",
            "cgmlp_linear_units": 24,
        },
        "normalize": None,
    },
    "owsm": {  # as OWSM 3.1 and POWSM, whose task is S2T
        "task": "s2t",
        "encoder": "e_branchformer",
        "encoder_conf": {
            **SIZES,
            **{"attention_layer_type": "selfattn", "pos_enc_layer_type": "abs_pos"},
            **{"rel_pos_type": "latest", "cgmlp_linear_units": 32, "cgmlp_conv_kernel": 31},
            **{"use_linear_after_conv": False, "gate_activation": "identity"},
            **{"positionwise_layer_type": "linear", "use_ffn": True, "macaron_ffn": True},
            **{"merge_conv_kernel": 31, "input_layer": "conv2d", "layer_drop_rate": 0.0},
        },
        "frontend_conf": {"fs": "16k", "n_fft": 512, "win_length": 400, "hop_length": 160},
        "decoder": "transformer",
        "decoder_conf": {"attention_heads": 2, "linear_units": 24, "num_blocks": 1},
        "specaug": "specaug",
        "specaug_conf": {
            "apply_time_mask": True,
            "num_time_mask": 2,
            "time_mask_width_range": [0, 9],
        },
        "model_conf": {"ctc_weight": 0.3, "sym_na": "<na>", "sym_sop": "<sop>"},
        "token_list": ["<blank>", "<unk>", "<na>", "a", "<sos>", "<eos>", "<sop>"],
    },
    "rnn": {
        "encoder": "vgg_rnn",
        "encoder_conf": {"hidden_size": 16, "output_size": 16, "num_layers": 2},
    },
}


def make_asr(config: dict[str, Any], directory: Path) -> torch.nn.Module:
    """A stock ASR model; its configuration and checkpoint are left in ``directory``."""
    torch.manual_seed(0)
    config = {"frontend": "default", "normalize": "global_mvn", **config}
    if config["normalize"] == "global_mvn":
        config["normalize_conf"] = {"stats_file": "exp/stats.npz"}
        (directory / "exp" / "run").mkdir(parents=True)
        values = np.random.default_rng(0).normal(-5, 2, (50, 80))
        np.savez(
            directory / "exp" / "stats.npz",
            count=50,
            sum=values.sum(0),
            sum_square=(values**2).sum(0),
        )
    (directory / "exp" / "run").mkdir(parents=True, exist_ok=True)
    path = directory / "exp" / "run" / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    values = {
        "token_list": ["<blank>", "<unk>", "a", "<sos/eos>"],
        "input_size": None,
        "specaug": None,
        "preencoder": None,
        "postencoder": None,
        "decoder": None,
        "model": "espnet",
        "model_conf": {"ctc_weight": 1.0},
        "ctc_conf": {},
        "init": None,
        "frontend_conf": {},
        "normalize_conf": {},
        **config,
    }
    if "stats_file" in values["normalize_conf"]:
        values["normalize_conf"] = {"stats_file": str(directory / "exp" / "stats.npz")}
    task = S2TTask if config.get("task") == "s2t" else ASRTask
    model = task.build_model(argparse.Namespace(**values)).eval()
    torch.save(model.state_dict(), path.with_name("valid.acc.best.pth"))
    return model


def make_encoder(directory: Path, **options: Any) -> ESPnetEncoder:
    run = directory / "exp" / "run"
    conf = ESPnetEncoderConf(
        train_config=str(run / "config.yaml"),
        model_file=str(run / "valid.acc.best.pth"),
        **options,
    )
    return ESPnetEncoder.from_conf(conf).eval()


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_equals_the_asr_model_s_own_encoding(name: str, tmp_path: Path) -> None:
    asr = make_asr(CONFIGS[name], tmp_path)
    encoder = make_encoder(tmp_path)
    encoder.requires_grad_(False)
    lengths = torch.tensor([16000, 9321, 12345])
    speech = torch.zeros(3, 16000)
    for row, n in enumerate(lengths):
        speech[row, :n] = torch.randn(n) * 0.1
    states, state_lengths = encoder(speech, lengths)
    assert state_lengths.tolist() == encoder.output_lengths(lengths).tolist()
    for row, n in enumerate(lengths):
        # one by one, as ESPnet decodes
        expected, expected_lengths = asr.encode(speech[row : row + 1, :n], n[None])
        assert state_lengths[row] == expected_lengths[0]
        torch.testing.assert_close(states[row, : state_lengths[row]], expected[0])
        assert not states[row, state_lengths[row] :].any()
    order = torch.tensor([0, 2, 1])  # the longest first
    expected, _ = asr.encode(speech[order], lengths[order])
    together, _ = make_encoder(tmp_path, batched=True)(speech, lengths)
    for row, n in zip(order, expected, strict=True):
        length = state_lengths[row]
        torch.testing.assert_close(together[row, :length], n[:length])


def test_says_its_sizes_and_names_its_blocks(tmp_path: Path) -> None:
    make_asr(CONFIGS["conformer"], tmp_path)
    encoder = make_encoder(tmp_path)
    assert (encoder.dim, len(encoder.layers)) == (16, 2)
    names = [name for name, _ in encoder.named_parameters()]
    assert any(name.startswith("layers.1.self_attn.") for name in names)
    assert not any(".encoders." in name for name in names)
    assert encoder.base is not None and encoder.base.fingerprint
    short, lengths = encoder(torch.randn(2, 10), torch.tensor([10, 3]))
    assert lengths.tolist() == encoder.output_lengths(torch.tensor([10, 3])).tolist()
    assert short.shape[1] >= 1 and int(lengths.min()) >= 1


def test_batches_while_it_is_trained(tmp_path: Path) -> None:
    make_asr(CONFIGS["conformer"], tmp_path)
    encoder = make_encoder(tmp_path).train()
    calls: list[int] = []
    encoder.encoder.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))
    lengths = torch.tensor([8000, 6000])
    encoder(torch.randn(2, 8000), lengths)[0].sum().backward()
    assert calls == [2]
    encoder.requires_grad_(False)(torch.randn(2, 8000), lengths)
    assert calls == [2, 1, 1]


def test_a_speech_llm_with_an_espnet_encoder_learns_from_text_alone(tmp_path: Path) -> None:
    make_asr(CONFIGS["conformer"], tmp_path)
    conf = {"train_config": str(tmp_path / "exp/run/config.yaml")}
    model = make_model(encoder="espnet", encoder_conf=conf).train()
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith(("encoder.", "adapter.")))
    before = {n: b.clone() for n, b in model.named_buffers()}
    for clips in ([[8000], [4000, 6000]], [[], []]):
        if clips == [[], []]:
            before = {n: b.clone() for n, b in model.named_buffers()}
        model.zero_grad()
        model(**make_batch(clips)).loss.backward()
        missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name  # silence taught the batch norms nothing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frontend_conf": {"fs": "8k"}}, "not of 16 kHz"),
        ({"input_size": 80}, "read features"),
        ({"postencoder": "length_adaptor"}, "postencoder"),
        ({"encoder": "nonsense"}, "cannot be built"),
        ({"encoder_conf": {"layers": 3}}, "cannot be built"),
        ({"normalize": "global_mvn", "normalize_conf": {"stats_file": "no.npz"}}, r"no\.npz"),
    ],
)
def test_what_cannot_be_taken_over_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**CONFIGS["transformer"], **change}))
    with pytest.raises(ConfigError, match=message):
        ESPnetEncoder.from_conf(ESPnetEncoderConf(train_config=str(path)))


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    make_asr(CONFIGS["transformer"], tmp_path)
    checkpoint = tmp_path / "exp" / "run" / "valid.acc.best.pth"
    state = torch.load(checkpoint, weights_only=True)
    del state["encoder.encoders.1.norm1.weight"]
    torch.save(state, checkpoint)
    with pytest.raises(ConfigError, match=r"1 weights are missing.*encoders\.1\.norm1\.weight"):
        make_encoder(tmp_path)
    checkpoint.write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match="damaged"):
        make_encoder(tmp_path)
