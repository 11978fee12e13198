"""Any encoder of an ESPnet ASR recipe, with the frontend and normalisation it was trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import humanfriendly
import torch
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.tasks import asr
from torch import Tensor, nn

from espnet_part.errors import ConfigError
from espnet_part.model.base import BaseModel, check_weights
from espnet_part.model.encoder_files import read_tensors
from espnet_part.model.encoders.espnet.conf import ESPnetEncoderConf
from espnet_part.model.encoders.espnet.packing import identify
from espnet_part.model.masking import cut_padding
from espnet_part.parsing import read_yaml
from espnet_part.sample_rate import SAMPLE_RATE

#: Where ESPnet's encoders keep their blocks.
_BLOCKS = ("encoders", "encoders.blocks", "enc", "encoders.encoder.layers", "encoder.layers")
_PARTS = ("frontend.", "normalize.", "preencoder.", "encoder.")


class ESPnetEncoder(nn.Module):
    """Waveforms to the states of an ESPnet encoder (its ``ESPnetASRModel.encode`` without SpecAug).

    While it is frozen, clips are encoded one by one, as in ESPnet's own decoding: a clip's output
    then does not depend on its batch. While it is trained, they are encoded together.

    Args:
        frontend, normalize, preencoder, encoder: ESPnet's modules; the first three may be missing.
        batched: encode together always.

    Attributes:
        dim: width of a state.
        layers: the blocks. Registered first, so that their parameters are named ``layers.N.*``.
    """

    protected = ()
    layers_run_once = False  # but once for each clip while it is frozen

    def __init__(
        self,
        frontend: nn.Module,
        normalize: nn.Module | None,
        preencoder: nn.Module | None,
        encoder: AbsEncoder,
        batched: bool = False,
    ) -> None:
        super().__init__()
        self.layers = _blocks(encoder)
        self.frontend = frontend
        self.normalize = normalize
        self.preencoder = preencoder
        self.encoder = encoder
        self.batched = batched
        self.base: BaseModel | None = None
        self.dim: int = encoder.output_size()
        # output length = (samples + offset) // samples_per_frame, from min_samples on
        self.min_samples, self.samples_per_frame, self.offset = 0, 1, 0
        if not any(p.is_meta for p in self.parameters()):
            self._measure_lengths()

    @classmethod
    def from_conf(cls, conf: ESPnetEncoderConf, load_weights: bool = True) -> ESPnetEncoder:
        """Build from the training configuration and checkpoint of an ESPnet ASR run.

        Raises:
            ConfigError: a file is missing or wrong, or the run used what cannot be taken over.
        """
        path = Path(conf.train_config)
        args = _read_config(path)
        try:
            frontend = _make(asr.frontend_choices, args)
            normalize = _make(asr.normalize_choices, _find_statistics(args, path))
            preencoder = _make(asr.preencoder_choices, args)
            size = (preencoder or frontend).output_size()
            encoder = _make(asr.encoder_choices, args, input_size=size)
        except (TypeError, ValueError, KeyError, OSError) as error:
            raise ConfigError(f"{path}: the encoder cannot be built: {error}") from None
        for option in ("interctc_use_conditioning", "ctc_trim"):
            if getattr(encoder, option, False):
                raise ConfigError(f"{path}: encoder_conf.{option} needs the CTC layer")
        model = cls(frontend, normalize, preencoder, encoder, conf.batched)
        if load_weights:
            if conf.model_file is not None:
                _load_weights(model, Path(conf.model_file))
            model.base = identify(conf)
        return model

    def output_lengths(self, num_samples: Tensor) -> Tensor:
        """Number of states of clips of ``num_samples`` samples."""
        samples = num_samples.clamp(min=self.min_samples)
        return (samples + self.offset) // self.samples_per_frame

    def forward(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode waveforms.

        Args:
            speech: (S, T) 16 kHz waveforms, zero behind each clip's length.
            lengths: (S,) in samples; a clip too short for the encoder is lengthened by silence.

        Returns:
            (S, T', dim) states, zero behind each clip's length, and their lengths (S,).
        """
        frame_lengths = self.output_lengths(lengths)
        lengths = lengths.clamp(min=self.min_samples)
        speech = nn.functional.pad(speech, (0, max(0, int(lengths.max()) - speech.shape[1])))
        if self.batched or any(p.requires_grad for p in self.parameters()):
            # the longest first, as ESPnet's recurrent encoders demand
            order = lengths.argsort(descending=True, stable=True)
            states, _ = self._encode(speech[order, : int(lengths.max())], lengths[order])
            states = states[order.argsort()]
        else:
            clips = [
                self._encode(clip[None, :n], lengths[i : i + 1])[0][0]
                for i, (clip, n) in enumerate(zip(speech, lengths.tolist(), strict=True))
            ]
            states = nn.utils.rnn.pad_sequence(clips, batch_first=True)
        # ESPnet gives a padded clip a frame more than the same clip alone
        return cut_padding(states, frame_lengths), frame_lengths

    def _encode(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(speech.device.type, enabled=False):
            feats, lengths = self.frontend(speech.float(), lengths)
            if self.normalize is not None:
                feats, lengths = self.normalize(feats, lengths)
        if self.preencoder is not None:
            feats, lengths = self.preencoder(feats, lengths)
        states, lengths, _ = self.encoder(feats, lengths)
        if isinstance(states, tuple):  # with the states of intermediate CTC
            states = states[0]
        return states, lengths

    @torch.no_grad()
    def _measure_lengths(self) -> None:
        """Find the output length as a function of samples by trying short clips of silence.

        Strides and kernels compose to floor((samples + offset) / samples_per_frame), whatever the
        frontend and the subsampling are.
        """
        modes = [(module, module.training) for module in self.modules()]
        self.eval()

        def frames(samples: int) -> int:
            clip = torch.zeros(1, samples)
            try:
                return int(self._encode(clip, torch.tensor([samples]))[1])
            except Exception:
                # too short, which every layer says with another error
                return 0

        def first(count: int, low: int) -> int:
            high = low
            while frames(high) < count:
                low, high = high, 2 * high
                if high > 60 * SAMPLE_RATE:
                    raise ConfigError("the ESPnet encoder gives no output for a minute of silence")
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if frames(middle) >= count else (middle, high)
            return high

        self.min_samples = first(1, 200)
        start = frames(self.min_samples)
        second, third = (first(start + more, self.min_samples) for more in (1, 2))
        self.samples_per_frame = third - second
        self.offset = (start + 1) * self.samples_per_frame - second
        for samples in (self.min_samples, third, SAMPLE_RATE, SAMPLE_RATE + 321):
            if samples >= self.min_samples:
                expected = (samples + self.offset) // self.samples_per_frame
                if frames(samples) != expected:
                    raise ConfigError(
                        "the ESPnet encoder's output length is no linear function of its input's"
                    )
        for module, mode in modes:
            module.training = mode


def build(conf: ESPnetEncoderConf, load_weights: bool = True) -> ESPnetEncoder:
    """See `espnet_part.model.kinds.EncoderModulePart`."""
    return ESPnetEncoder.from_conf(conf, load_weights)


def _blocks(encoder: nn.Module) -> nn.Sequential | nn.ModuleList:
    for path in _BLOCKS:
        found: Any = encoder
        for name in path.split("."):
            found = getattr(found, name, None)
        if isinstance(found, (nn.Sequential, nn.ModuleList)):
            return found
    return nn.ModuleList([encoder])


def _read_config(path: Path) -> dict[str, Any]:
    args = read_yaml(path)
    if not isinstance(args, dict) or "encoder" not in args:
        raise ConfigError(f"{path}: is not the config.yaml of an ESPnet ASR run: has no `encoder`")
    if args.get("input_size") is not None:
        raise ConfigError(f"{path}: the run read features (`input_size`), not waveforms")
    if args.get("postencoder") is not None:
        raise ConfigError(f"{path}: a postencoder cannot be taken over")
    rate = (args.get("frontend_conf") or {}).get("fs", SAMPLE_RATE)
    if (humanfriendly.parse_size(rate) if isinstance(rate, str) else rate) != SAMPLE_RATE:
        raise ConfigError(f"{path}: the encoder takes audio of {rate} Hz, not of 16 kHz")
    return args


def _make(choices: Any, args: dict[str, Any], **more: Any) -> Any:
    """Build one of ESPnet's modules as its ASR task does."""
    kind = args.get(choices.name, choices.default)
    if kind is None:
        return None
    return choices.get_class(kind)(**more, **(args.get(f"{choices.name}_conf") or {}))


def _find_statistics(args: dict[str, Any], path: Path) -> dict[str, Any]:
    """Look for global_mvn's statistics from the directories above the run, as the recipe would.

    The current directory comes last: it may hold a file of this name that belongs to another run.
    """
    conf = args.get("normalize_conf") or {}
    if args.get("normalize") != "global_mvn" or "stats_file" not in conf:
        return args
    for directory in (*path.resolve().parents, Path()):
        if (directory / conf["stats_file"]).is_file():
            found = {**conf, "stats_file": str(directory / conf["stats_file"])}
            return {**args, "normalize_conf": found}
    raise ConfigError(f"{path}: normalize_conf.stats_file: no file {conf['stats_file']}")


def encoder_config(path: Path) -> tuple[dict[str, Any], Path | None]:
    """What of an ESPnet run's configuration makes the encoder, and the file of its statistics.

    Raises:
        ConfigError: the file is missing or wrong, or the run used what cannot be taken over.
    """
    args = _find_statistics(_read_config(path), path)
    kept = {}
    for choices in (
        asr.frontend_choices,
        asr.normalize_choices,
        asr.preencoder_choices,
        asr.encoder_choices,
    ):
        for key in (choices.name, f"{choices.name}_conf"):
            if key in args:
                kept[key] = args[key]
    statistics = (kept.get("normalize_conf") or {}).get("stats_file")
    return kept, None if statistics is None else Path(statistics)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The encoder's tensors of a checkpoint of ESPnet (`*.pth`), or of safetensors.

    Raises:
        ConfigError: the file is missing, damaged, or holds more than tensors.
    """
    state = read_tensors(path)
    resumable = state.get("model")
    if isinstance(resumable, dict):  # a checkpoint to resume from
        state = resumable
    return {k: v for k, v in state.items() if k.startswith(_PARTS)}


def _load_weights(model: ESPnetEncoder, path: Path) -> None:
    wanted = {k: v for k, v in model.state_dict().items() if k.startswith(_PARTS)}
    found = {k: v for k, v in read_weights(path).items() if k in wanted}
    check_weights(wanted, found, str(path))
    # the blocks are in the state twice, by two names, and are loaded by the one
    model.load_state_dict(found, strict=False)
