"""Models in vLLM's own server: what vLLM makes of a directory that `part_export --format vllm` wrote.

vLLM finds `register` through the entry point ``vllm.general_plugins``, in each of its processes. The
modules here run in vLLM's environment (tools/setup_vllm.sh), where no ESPnet is.
"""

from __future__ import annotations

import logging

VLLM = "0.32"
"""The release of vLLM whose interfaces for models are meant; they change between releases."""


def register() -> None:
    """Make the model and its configuration known to vLLM; may be called again."""
    import vllm

    if vllm.__version__.split(".")[:2] != VLLM.split("."):
        logging.getLogger("vllm.espnet_part").warning(
            "espnet_part serves its models with vLLM %s; in vLLM %s they are not known",
            *(VLLM, vllm.__version__),
        )
        return
    from transformers import AutoConfig
    from vllm import ModelRegistry

    from espnet_part.vllm.config import ARCHITECTURE, PartConfig

    AutoConfig.register(PartConfig.model_type, PartConfig, exist_ok=True)
    ModelRegistry.register_model(ARCHITECTURE, f"espnet_part.vllm.model:{ARCHITECTURE}")
