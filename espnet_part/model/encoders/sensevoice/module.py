"""SenseVoiceSmall's encoder (package funasr, extra `funasr`) behind its own filter banks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from espnet_part.display import plain
from espnet_part.errors import ConfigError
from espnet_part.model.base import BaseModel, check_weights
from espnet_part.model.encoder_files import read_tensors
from espnet_part.model.encoders.sensevoice.conf import SenseVoiceConf
from espnet_part.model.encoders.sensevoice.packing import identify
from espnet_part.model.masking import cut_padding
from espnet_part.parsing import read_yaml
from espnet_part.sample_rate import SAMPLE_RATE

WINDOW, HOP = 400, 160  # samples
#: Rows of its table of queries: languages, what stands for event and emotion, and text styles.
_LANGUAGES = {"auto": 0, "zh": 3, "en": 4, "yue": 7, "ja": 11, "ko": 12, "nospeech": 13}
_EVENT_EMOTION = (1, 2)
_STYLES = {True: 14, False: 15}
_QUERIES = 16
_PARTS = ("encoder.", "embed.")


class SenseVoiceEncoder(nn.Module):
    """Waveforms to the states of SenseVoice's encoder, those of its four queries cut off.

    Args:
        encoder: funasr's SenseVoiceEncoderSmall. frontend: its filter banks, without dither.
        queries: rows of the table that are read before each clip.

    Attributes:
        dim: width of a state.
        layers: the blocks. Registered first, so that their parameters are named ``layers.N.*``.
    """

    protected = ()
    layers_run_once = True

    def __init__(self, encoder: Any, frontend: Any, queries: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([*encoder.encoders0, *encoder.encoders, *encoder.tp_encoders])
        self.encoder = encoder
        self.embed = nn.Embedding(_QUERIES, frontend.output_size())
        self.frontend = frontend
        self.queries = queries
        self.base: BaseModel | None = None
        self.dim: int = encoder.output_size()

    def output_lengths(self, num_samples: Tensor) -> Tensor:
        """Number of states of clips of ``num_samples`` samples."""
        frames = (num_samples.clamp(min=WINDOW) - WINDOW) // HOP + 1
        return -(-frames // self.frontend.lfr_n)

    def forward(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode waveforms.

        Args:
            speech: (S, T) 16 kHz waveforms, zero behind each clip's length.
            lengths: (S,) in samples; a clip shorter than 25 ms is lengthened by silence.

        Returns:
            (S, T', dim) states, zero behind each clip's length, and their lengths (S,).
        """
        out_lengths = self.output_lengths(lengths)
        samples = lengths.clamp(min=WINDOW)
        speech = nn.functional.pad(speech, (0, max(0, int(samples.max()) - speech.shape[1])))
        with torch.autocast(speech.device.type, enabled=False):
            features, _ = self.frontend(speech.float(), samples.tolist())
        queries = self.embed(torch.tensor(self.queries, device=speech.device))
        # funasr scales what it reads in place
        read = torch.cat([queries.expand(len(speech), -1, -1), features.to(queries)], 1)
        states, _ = self.encoder(read, out_lengths + len(self.queries))
        return cut_padding(states[:, len(self.queries) :], out_lengths), out_lengths


def build(conf: SenseVoiceConf, load_weights: bool = True) -> SenseVoiceEncoder:
    """See `espnet_part.model.kinds.EncoderModulePart`."""
    try:
        from funasr.frontends.wav_frontend import WavFrontend
        from funasr.models.sense_voice.model import SenseVoiceEncoderSmall
    except ImportError as error:
        raise ConfigError(
            f"the encoder sensevoice needs funasr: pip install 'espnet_part[funasr]' ({error})"
        ) from None
    values = encoder_config(Path(conf.train_config))
    settings = {"fs": SAMPLE_RATE, **values["frontend_conf"], "dither": 0.0}
    queries = (_LANGUAGES[conf.language], *_EVENT_EMOTION, _STYLES[conf.use_itn])
    try:
        frontend = WavFrontend(**{**settings, "cmvn_file": conf.cmvn_file})
        encoder = SenseVoiceEncoderSmall(frontend.output_size(), **values["encoder_conf"])
    except Exception as error:  # of numbers that fit nothing, or a damaged am.mvn
        raise ConfigError(f"{conf.train_config}: {plain(error, 200)}") from None
    if (frontend.fs, frontend.frame_length, frontend.frame_shift) != (SAMPLE_RATE, 25, 10):
        raise ConfigError(f"{conf.train_config}: frontend_conf: is not of 16 kHz, 25 ms and 10 ms")
    model = SenseVoiceEncoder(encoder, frontend, queries)
    if load_weights:
        if conf.model_file is not None:
            found = read_weights(Path(conf.model_file))
            wanted = {k: v for k, v in model.state_dict().items() if k.startswith(_PARTS)}
            check_weights(wanted, found, conf.model_file)
            # the blocks are in the state twice, by two names, and are loaded by the one
            model.load_state_dict(found, strict=False)
        model.base = identify(conf)
    return model


def encoder_config(path: Path) -> dict[str, Any]:
    """What of a config.yaml of SenseVoiceSmall makes the encoder: numbers alone.

    Raises:
        ConfigError: the file is missing, or that of another model.
    """
    values = read_yaml(path)
    if not isinstance(values, dict) or values.get("encoder") != "SenseVoiceEncoderSmall":
        raise ConfigError(f"{path}: is not the config.yaml of SenseVoiceSmall: `encoder`")
    kept: dict[str, Any] = {"encoder": "SenseVoiceEncoderSmall"}
    for key in ("encoder_conf", "frontend_conf"):
        section = values.get(key)
        if not isinstance(section, dict):
            raise ConfigError(f"{path}: {key}: is missing")
        kept[key] = {k: v for k, v in section.items() if k != "cmvn_file"}
    return kept


def read_weights(path: Path) -> dict[str, Tensor]:
    """The encoder's tensors of SenseVoice's model.pt, or of safetensors.

    Raises:
        ConfigError: the file is missing, damaged, or holds more than tensors.
    """
    state = read_tensors(path)
    for key in ("state_dict", "model_state_dict", "model"):
        inner = state.get(key)
        if isinstance(inner, dict):
            state = inner
    return {k: v for k, v in state.items() if k.startswith(_PARTS)}
