"""The forward pass of a Whisper encoder."""

from __future__ import annotations

from espnet_part.model.encoders.whisper.conf import WhisperEncoderConf
from espnet_part.model.encoders.whisper.shapes import encoder_sizes
from espnet_part.model.operations import (
    Block,
    Elementwise,
    EncoderOperations,
    Linear,
    Norm,
    Part,
    transformer_layer,
)

STATES_PER_SECOND = 50


def operations(conf: WhisperEncoderConf) -> EncoderOperations | None:
    """See `espnet_part.model.kinds.EncoderOperationsPart`."""
    sizes = encoder_sizes(conf)
    if sizes is None:
        return None
    width, ff, mel = sizes["d_model"], sizes["encoder_ffn_dim"], sizes["num_mel_bins"]
    # two mel frames a state: the second convolution has a stride of 2
    stem = Block(
        (
            Linear("", 201, mel, times=2, kept=0),  # spectrum to mel filters
            Linear("encoder.conv1", 3 * mel, width, times=2, kept=2 * mel),
            Elementwise(kept=2 * width),
            Linear("encoder.conv2", 3 * width, width, kept=2 * width),
            Elementwise(kept=width),
        )
    )
    layers = (
        transformer_layer(
            f"encoder.layers.{n}",
            width,
            sizes["encoder_attention_heads"],
            ff,
            sizes.get("dropout", 0.0),
        )
        for n in range(sizes["encoder_layers"])
    )
    end = Block((Norm("encoder.layer_norm", width),))
    part = Part(
        "encoder",
        width,
        max(ff, 3 * width),
        (stem, *layers, end),
        checkpointed=conf.gradient_checkpointing,
    )
    window = sizes["max_source_positions"] if conf.pad_to_30s else 0
    silence = round(conf.silence * STATES_PER_SECOND)
    return EncoderOperations(part, width, STATES_PER_SECOND, window, silence)
