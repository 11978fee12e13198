"""SenseVoice's encoder against funasr's own model, through its own inference."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from espnet_part.errors import ConfigError
from espnet_part.model.encoders.sensevoice.conf import SenseVoiceConf
from espnet_part.model.encoders.sensevoice.module import SenseVoiceEncoder, build

#: The layout of SenseVoiceSmall, in tiny.
CONFIG: dict[str, Any] = {
    "model": "SenseVoiceSmall",
    "encoder": "SenseVoiceEncoderSmall",
    "encoder_conf": {
        **{"output_size": 16, "attention_heads": 2, "linear_units": 24, "num_blocks": 3},
        **{"tp_blocks": 2, "dropout_rate": 0.1, "positional_dropout_rate": 0.1},
        **{"attention_dropout_rate": 0.1, "input_layer": "pe", "normalize_before": True},
        **{"pos_enc_class": "SinusoidalPositionEncoder", "kernel_size": 11, "sanm_shfit": 0},
        "selfattention_layer_type": "sanm",
    },
    "frontend": "WavFrontend",
    "frontend_conf": {
        **{"fs": 16000, "window": "hamming", "n_mels": 80, "frame_length": 25},
        **{"frame_shift": 10, "lfr_m": 7, "lfr_n": 6, "cmvn_file": None},
    },
}
LENGTHS = torch.tensor([16000, 9321, 12345, 399])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A model directory of random weights."""
    pytest.importorskip("funasr")
    from funasr.models.sense_voice.model import SenseVoiceSmall

    torch.manual_seed(0)
    model = SenseVoiceSmall(
        **{key: CONFIG[key] for key in ("encoder", "encoder_conf")}, input_size=560, vocab_size=40
    )
    torch.save(model.state_dict(), tmp_path / "model.pt")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    shift, scale = " ".join(["-8.3"] * 560), " ".join(["0.15"] * 560)
    (tmp_path / "am.mvn").write_text(
        "<Nnet>\n<AddShift> 560 560\n<LearnRateCoef> 0 [ "
        + shift
        + " ]\n<Rescale> 560 560\n<LearnRateCoef> 0 [ "
        + scale
        + " ]\n</Nnet>\n"
    )
    return {
        "train_config": str(tmp_path / "config.yaml"),
        "model_file": str(tmp_path / "model.pt"),
        "cmvn_file": str(tmp_path / "am.mvn"),
    }


def make_clips() -> Tensor:
    speech = torch.randn(len(LENGTHS), 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    return speech * (torch.arange(16000) < LENGTHS[:, None])


@torch.no_grad()
def funasrs_own(clip: Tensor, files: dict[str, str], **options: Any) -> Tensor:
    """What its inference computes of a clip before the CTC layer."""
    from funasr.frontends.wav_frontend import WavFrontend
    from funasr.models.sense_voice.model import SenseVoiceSmall

    model = SenseVoiceSmall(
        **{key: CONFIG[key] for key in ("encoder", "encoder_conf")}, input_size=560, vocab_size=40
    )
    model.load_state_dict(torch.load(files["model_file"], weights_only=True))
    settings = {**CONFIG["frontend_conf"], "cmvn_file": files["cmvn_file"], "dither": 0.0}
    seen: list[Tensor] = []
    model.encoder.register_forward_hook(lambda *hooked: seen.append(hooked[2][0]))
    tokenizer = type("Tokenizer", (), {"decode": staticmethod(str)})
    options |= {"tokenizer": tokenizer, "frontend": WavFrontend(**settings), "device": "cpu"}
    model.eval().inference([clip.numpy()], key=["a"], **options)
    return seen[0][0, 4:]


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"language": "yue", "use_itn": True}])
def test_batched_and_alone_it_gives_what_funasr_gives(
    options: dict[str, Any], files: dict[str, str]
) -> None:
    encoder = build(SenseVoiceConf(**files, **options)).eval()
    speech = make_clips()
    states, lengths = encoder(speech, LENGTHS)
    assert lengths.tolist() == encoder.output_lengths(LENGTHS).tolist() == [17, 10, 13, 1]
    assert states.shape == (4, 17, encoder.dim)
    for row, n in enumerate(LENGTHS):
        alone, own = encoder(speech[row : row + 1, :n], n[None])
        assert own[0] == lengths[row] == alone.shape[1]
        torch.testing.assert_close(states[row, : own[0]], alone[0], atol=1e-5, rtol=1e-4)
        assert not states[row, own[0] :].any()
        if n >= 400:
            expected = funasrs_own(speech[row, :n], files, **options)
            torch.testing.assert_close(alone[0], expected, atol=1e-5, rtol=1e-4)


def test_its_blocks_are_named_and_train(files: dict[str, str]) -> None:
    encoder = build(SenseVoiceConf(**files)).train()
    names = [name for name, _ in encoder.named_parameters()]
    assert {name.split(".")[1] for name in names if name.startswith("layers.")} == set("01234")
    assert not any(".encoders" in name for name in names)
    encoder(make_clips(), LENGTHS)[0].square().sum().backward()
    assert not [name for name, p in encoder.named_parameters() if p.grad is None]
    assert encoder.base is not None and encoder.base.fingerprint


def test_exported_it_computes_the_same(files: dict[str, str], tmp_path: Path) -> None:
    from espnet_part.model.encoders.sensevoice.packing import export, identify, pack

    conf = SenseVoiceConf(**files, language="ja")
    encoder = build(conf).eval()
    (tmp_path / "whole").mkdir()
    (tmp_path / "room").mkdir()

    def load(packed: Any, folder: Path) -> SenseVoiceEncoder:
        for name, source in packed.files.items():
            if source.parent != folder:
                (folder / name).write_bytes(source.read_bytes())
        paths = {k: str(folder / v) if k in files else v for k, v in packed.conf.items()}
        return build(SenseVoiceConf(**paths)).eval()

    with torch.no_grad():
        expected, _ = encoder(make_clips(), LENGTHS)
        for packed, folder in (
            (export(encoder, conf, tmp_path / "whole"), tmp_path / "whole"),
            (pack(conf, identify(conf), True, (), list, tmp_path / "room"), tmp_path / "room"),
        ):
            assert {path.suffix for path in packed.files.values()} == {
                ".yaml",
                ".safetensors",
                ".mvn",
            }
            assert torch.equal(load(packed, folder)(make_clips(), LENGTHS)[0], expected)
    with pytest.raises(ConfigError, match="--with_base_models true"):
        pack(conf, identify(conf), False, (), list, tmp_path / "room")


def test_another_model_s_configuration_is_refused(files: dict[str, str]) -> None:
    path = Path(files["train_config"])
    path.write_text(yaml.safe_dump({**CONFIG, "encoder": "SANMEncoder"}))
    with pytest.raises(ConfigError, match=r"is not the config\.yaml of SenseVoiceSmall"):
        build(SenseVoiceConf(**files))


def test_without_funasr_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fake(name: str, *args: Any) -> Any:
        if name.startswith("funasr"):
            raise ImportError("no module")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(ConfigError, match=r"pip install 'espnet_part\[funasr\]'"):
        build(SenseVoiceConf(train_config="config.yaml"))
