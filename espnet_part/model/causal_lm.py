"""Loading a causal language model of transformers; of a multimodal one, its text model."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from espnet_part.display import plain
from espnet_part.errors import ConfigError, UserError
from espnet_part.model.base import check_config, find_config, find_model
from espnet_part.model.config import LLMConf
from espnet_part.model.quantization import four_bits, let_gradients_through

# names of the text model's weights inside a multimodal model, of transformers 5 and of 4
_TEXT_WEIGHTS = {
    r"^model\.language_model\.": "model.",
    r"^language_model\.model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
}


def load_causal_lm(conf: LLMConf, load_weights: bool = True) -> Any:
    """Load a causal LM, its weights straight into their dtype.

    Raises:
        ConfigError: no such model, no causal LM of transformers, no safetensors, weights that lack
            some of the model's tensors, or an attention that the family does not have.
    """
    where = f"llm_conf: {conf.name or 'config'}"
    try:
        config = _load_config(conf)
        text = text_config(config)
        inside = text is not config and type(text) in AutoModelForCausalLM._model_mapping
        if inside:
            config = text
        _check_attention(config, conf.attention, where)
        settings = {
            "dtype": getattr(torch, conf.dtype),
            "attn_implementation": conf.attention,
            "trust_remote_code": False,
        }
        if conf.name is None or not load_weights:
            return AutoModelForCausalLM.from_config(config, **settings)
        if conf.quantization is not None:
            settings["quantization_config"] = four_bits(conf.dtype)
        with _quiet():
            # from its directory: given a hub's name, transformers asks the hub for more
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                find_model(conf.name, conf.revision),
                config=config,
                use_safetensors=True,
                output_loading_info=True,
                **({"key_mapping": _TEXT_WEIGHTS} if inside else {}),
                **settings,
            )
            model, found = loaded
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a config.json provokes: KeyError, TypeError, …
        reason = plain(" ".join(str(error).split()), 500)
        raise ConfigError(f"{where}: {reason}") from None
    let_gradients_through(model)
    if missing := sorted(found["missing_keys"]):
        raise ConfigError(
            f"{where}: its weights lack {len(missing)} tensors, {plain(missing[0], 100)} first; "
            "transformers would make up random ones"
        )
    unused = sorted(found["unexpected_keys"])
    if unused and not inside:
        named = plain(unused[0], 100)
        logging.warning("%s: %d of its tensors have no place, %s first", where, len(unused), named)
    return model


def text_config(config: Any) -> Any:
    """The part of a configuration that is the language model's; often all of it."""
    return config.get_text_config()


def _check_attention(config: Any, attention: str, where: str) -> None:
    family: Any = AutoModelForCausalLM._model_mapping.get(type(config), None)
    # transformers 5.20 takes sdpa for Gemma 2 and leaves out its soft cap without a word
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    if attention == "sdpa" and (capped or not getattr(family, "_supports_sdpa", True)):
        raise ConfigError(
            f"{where}: {family.__name__} ({config.model_type}) has no sdpa attention; set "
            "llm_conf: attention: eager"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bar and report; downloads, which come before, have their bar.

    The report shows the names of foreign tensors as they are, control characters too.
    """
    shown = transformers_logging.is_progress_bar_enabled()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shown:
            transformers_logging.enable_progress_bar()


def _load_config(conf: LLMConf) -> Any:
    """transformers' configuration of the LLM."""
    if conf.name is None:
        return AutoConfig.for_model(**(conf.config or {}))
    check_config(conf.name, conf.revision)
    return AutoConfig.from_pretrained(
        find_config(conf.name, conf.revision).parent, trust_remote_code=False
    )
