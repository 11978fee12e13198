"""What a packed model may be built of: nothing that fetches, unpickles or runs more by itself.

Weights are safetensors and configurations are plain data, but a configuration can also name things
that do more when they are built: encoders of ESPnet that load a checkpoint of fairseq or s3prl from
any address, or an attention that is a compiled kernel of the hub. A model of a stranger must not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_part.errors import ConfigError, DataError
from espnet_part.model.base import ATTENTION
from espnet_part.parsing import read_yaml

#: ESPnet's modules that are made from numbers alone (and statistics that numpy reads).
PLAIN = {
    "frontend": frozenset(("default", "sliding_window")),
    "normalize": frozenset(("global_mvn", "utterance_mvn")),
    "preencoder": frozenset(("sinc", "linear")),
    "encoder": frozenset(
        (
            *("conformer", "transformer", "branchformer", "e_branchformer", "multiconv_conformer"),
            *("contextual_block_transformer", "contextual_block_conformer"),
            *("vgg_rnn", "rnn", "longformer"),
        )
    ),
}


def check_packed(values: Mapping[str, Any], where: Path) -> None:
    """Refuse what a packed configuration must not name.

    Args:
        values: the packed configuration, with paths that can be opened. where: its file.

    Raises:
        DataError: names it.
    """
    attention = _section(values, "llm_conf").get("attention", "sdpa")
    if attention not in ATTENTION:
        raise DataError(
            f"{where}: llm_conf: attention: {attention!r} is none of {', '.join(ATTENTION)}; "
            "others may run code of the hub"
        )
    encoder = _section(values, "encoder_conf").get("train_config")
    if values.get("encoder") == "espnet" and isinstance(encoder, str):
        try:
            # read just as the encoder will be, or the two could differ
            check_encoder(read_yaml(encoder), encoder)
        except ConfigError as error:
            raise DataError(str(error)) from None


def check_encoder(values: Any, where: str) -> None:
    """Refuse an ESPnet encoder that is not `PLAIN`.

    Args:
        values: the configuration of its training. where: its file.

    Raises:
        ConfigError: names the module.
    """
    if not isinstance(values, Mapping):
        return  # no configuration at all, which the encoder refuses
    for part, plain in PLAIN.items():
        kind = values.get(part)
        if kind is not None and (not isinstance(kind, str) or kind not in plain):
            raise ConfigError(
                f"{where}: {part}: {kind!r} may load weights of others, or run their code, so it "
                f"cannot be in a packed model; what can is {', '.join(sorted(plain))}"
            )


def _section(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = values.get(key)
    return section if isinstance(section, Mapping) else {}  # what is wrong is told later
