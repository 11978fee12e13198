"""The language model: any causal LM of transformers, with LoRA, without its head where it can."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    Cache,
    GenerationConfig,
    LogitsProcessor,
    StoppingCriteria,
)
from transformers.modeling_layers import GradientCheckpointingLayer

from espnet_part.display import plain
from espnet_part.errors import ConfigError
from espnet_part.model.base import BaseModel, describe_base
from espnet_part.model.causal_lm import load_causal_lm, text_config
from espnet_part.model.config import LLMConf, LoRAConf
from espnet_part.model.lora import inject_lora
from espnet_part.model.loss import labelled_loss
from espnet_part.model.splice import IGNORE
from espnet_part.model.tokenizer import check_vocabulary, end_token_ids


class LLM(nn.Module):
    """A causal language model that takes embeddings and gives hidden states.

    Casts (``.to(dtype)``, ``.float()``, …) leave its weights in the configured dtype, and so do
    those of a module that contains it; moves to a device are followed. ESPnet casts every model to
    its ``train_dtype``, which would double the memory of a bfloat16 LLM.

    Args:
        model: a causal LM of transformers.
        gradient_checkpointing: recompute each layer in the backward pass, whenever a graph is
            built. transformers' own switch does nothing for a frozen LLM, which is in eval mode.
        tokenizer: tells the tokens that end an answer.

    Attributes:
        model: the causal LM. dim: width of its embeddings and states. base: where it is from.
        end_token_ids: decoding stops at any of them.
    """

    def __init__(
        self, model: Any, gradient_checkpointing: bool = False, tokenizer: Any = None
    ) -> None:
        super().__init__()
        self.model = model
        self.base: BaseModel | None = None
        self.dim: int = model.get_input_embeddings().weight.shape[1]
        if tokenizer is not None:
            check_vocabulary(tokenizer, model.get_input_embeddings().weight.shape[0])
        self.max_length: int | None = getattr(
            text_config(model.config), "max_position_embeddings", None
        )
        generation = model.generation_config
        self.end_token_ids = end_token_ids(
            tokenizer,
            getattr(text_config(model.config), "eos_token_id", None),
            generation and generation.eos_token_id,
        )
        # A hub model's sampling settings (Qwen2.5: a repetition penalty) are for chat.
        model.generation_config = GenerationConfig()
        _name_embeddings(model)
        words = inspect.signature(model.base_model.forward).parameters
        self._cache_word = "cache" if "cache" in words else "past_key_values"  # before 5.24
        if gradient_checkpointing:
            self._checkpoint_layers()

    @classmethod
    def from_conf(
        cls,
        conf: LLMConf,
        lora: LoRAConf | None = None,
        load_weights: bool = True,
        tokenizer: Any = None,
    ) -> LLM:
        """Build from a configuration; weights are loaded straight into their dtype.

        Raises:
            ConfigError: no such model, no causal LM of transformers, no safetensors, or a LoRA
                target that is not in the model.
        """
        model = load_causal_lm(conf, load_weights)
        if lora is not None:
            inject_lora(model, lora)
        model.requires_grad_(False)
        llm = cls(model, conf.gradient_checkpointing, tokenizer)
        if load_weights:
            llm.check_reads_embeddings(f"llm_conf: {conf.name or 'config'}")
            llm.base = describe_base("llm", conf.name, conf.revision, conf.config)
        return llm

    @property
    def embedding(self) -> nn.Module:
        """The table of token embeddings."""
        return self.model.get_input_embeddings()

    @property
    def layers(self) -> list[nn.Module]:
        """Its blocks, as transformers marks them."""
        return [m for m in self.model.modules() if isinstance(m, GradientCheckpointingLayer)]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the base weights."""
        return self.model.get_input_embeddings().weight.dtype

    def embedding_std(self) -> float:
        """Standard deviation of what the embedding layer gives, from a sample of at most 4096 tokens.

        That is not always its table's: Gemma's layer multiplies by the square root of the width.
        """
        table = cast(torch.Tensor, self.embedding.weight)
        ids = torch.arange(0, len(table), max(1, len(table) // 4096), device=table.device)
        with torch.no_grad():
            return float(self.embedding(ids[None]).float().std())

    def hidden(
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: Cache | None = None
    ) -> Tensor:
        """Run the layers, without the head.

        Args:
            embeddings: (B, T, dim). mask: (B, T), true at tokens; with a cache, of what is in it, too.
            positions: (B, T).
            cache: keys and values of what was read before; what is read is added.

        Returns:
            (B, T, dim) last hidden states.
        """
        return self.model.base_model(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=positions,
            use_cache=cache is not None,
            **{self._cache_word: cache},
        ).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Apply the head: (N, dim) hidden states to (N, vocabulary) scores."""
        logits = self.model.get_output_embeddings()(hidden)
        # Some families scale behind the head: Cohere, Granite, Gemma.
        config = self.model.config
        if (scale := getattr(config, "logit_scale", None)) is not None:
            logits = logits * scale
        if (divisor := getattr(config, "logits_scaling", None)) is not None:
            logits = logits / divisor
        if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits

    def generate(
        self,
        embeddings: Tensor,
        mask: Tensor,
        max_new_tokens: Tensor,
        beam_size: int = 1,
        length_penalty: float = 1.0,
        nbest: int = 1,
    ) -> tuple[list[list[int]], list[float]]:
        """Continue left-padded prompts by greedy or beam search with a key-value cache.

        Args:
            embeddings: (B, T, dim), padding on the left. mask: (B, T), true at tokens.
            max_new_tokens: (B,) limits, end token included.
            beam_size: 1 is greedy.
            length_penalty: the beam's log probability is divided by length ** length_penalty.
            nbest: hypotheses of each row, no more than there are beams.

        Returns:
            The hypotheses' token ids without the end token, those of a row together and the best first,
            and their scores: the sum of the tokens' log probabilities (greedy), or the beam's score.
        """
        pad = self.end_token_ids[0] if self.end_token_ids else 0
        greedy_scores = _GreedyScores()
        out = self.model.generate(
            inputs_embeds=embeddings,
            attention_mask=mask.long(),
            generation_config=GenerationConfig(
                max_new_tokens=int(max_new_tokens.max()),
                num_beams=beam_size,
                do_sample=False,
                eos_token_id=self.end_token_ids or None,
                pad_token_id=pad,
                bos_token_id=pad,
                use_cache=True,
                # scores are worked out here: those of every step and word would take gigabytes
                return_dict_in_generate=True,
                num_return_sequences=nbest,
                **({"length_penalty": length_penalty} if beam_size > 1 else {}),
            ),
            logits_processor=[greedy_scores] if beam_size == 1 else [],
            stopping_criteria=[_RowLimit(max_new_tokens)],
        )
        limits = max_new_tokens.repeat_interleave(nbest).tolist()
        rows = [self._cut(*row) for row in zip(out.sequences.tolist(), limits, strict=True)]
        if beam_size > 1:
            decided = [ids[:n] for ids, (_, n) in zip(out.sequences, rows, strict=True)]
            prompts, read = (each.repeat_interleave(nbest, dim=0) for each in (embeddings, mask))
            sums = self._score(prompts, read, decided)
            scores = [s / len(d) ** length_penalty for s, d in zip(sums, decided, strict=True)]
            return [ids for ids, _ in rows], scores
        token_scores = torch.stack(greedy_scores.steps, dim=1)
        scores = [float(token_scores[i, :used].sum()) for i, (_, used) in enumerate(rows)]
        return [ids for ids, _ in rows], scores

    def check_reads_embeddings(self, where: str) -> None:
        """Read two embeddings and write two tokens, as training and decoding will.

        Some families of transformers cannot, and would say so after days of training; others (Gemma
        3n) have more embeddings of a token, one a layer, and would go without them.

        Raises:
            ConfigError: the model cannot.
        """
        config = self.model.config
        # other kernels may need the accelerator, on which the model is not yet
        kernel = getattr(config, "_attn_implementation", None)
        if self.embedding.weight.is_meta or kernel not in ("sdpa", "eager"):
            return
        training, ends = self.training, self.end_token_ids
        self.eval()
        self.end_token_ids = []  # both tokens, whatever they are
        try:
            with torch.no_grad():
                device = cast(torch.Tensor, self.embedding.weight).device
                ids = torch.arange(2, device=device)[None]
                tokens = self.embedding(ids)
                mask = torch.ones(1, 2, dtype=torch.bool, device=device)
                # between two tokens: speech is none, and Gemma 4 looks for the token it is
                embeddings = tokens.mean(dim=1, keepdim=True).repeat(1, 2, 1)
                hidden = self.hidden(embeddings, mask, ids)
                self.logits(hidden[0])
                self.generate(embeddings, mask, torch.tensor([2], device=device))
                by_id = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
                difference = self.hidden(tokens, mask, ids) - by_id
                if difference.norm() > 0.1 * by_id.norm():
                    raise ValueError("a token's number tells it more than its embedding does")
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # each family fails in its own way
            reason = plain(" ".join(f"{type(error).__name__}: {error}".split()), 300)
            raise ConfigError(
                f"{where}: {type(self.model).__name__} ({config.model_type}) cannot be used: it does "
                f"not read embeddings, which speech becomes, or does not continue them: {reason}"
            ) from None
        finally:
            self.train(training)
            self.end_token_ids = ends

    def _score(self, embeddings: Tensor, mask: Tensor, answers: Sequence[Tensor]) -> list[float]:
        """The log probabilities of answers, end token included, behind left-padded prompts."""
        longest = max(len(answer) for answer in answers)
        labels = torch.full((len(answers), longest), IGNORE, device=mask.device)
        for row, answer in enumerate(answers):
            labels[row, : len(answer)] = answer
        read = labels != IGNORE
        tokens = self.embedding(labels.where(read, 0)).to(embeddings.dtype)
        mask = torch.cat([mask.bool(), read], dim=1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        hidden = self.hidden(torch.cat([embeddings, tokens], dim=1), mask, positions)
        before = torch.full(embeddings.shape[:2], IGNORE, device=mask.device)
        _, losses, *_ = labelled_loss(hidden, torch.cat([before, labels], dim=1), self.logits)
        return (-losses).tolist()

    def _cut(self, ids: list[int], limit: int) -> tuple[list[int], int]:
        """The tokens before the end token or the limit, and how many were decided on."""
        for i, token in enumerate(ids[:limit]):
            if token in self.end_token_ids:
                return ids[:i], i + 1
        return ids[:limit], min(limit, len(ids))

    def _checkpoint_layers(self) -> None:
        layers = self.layers
        if not layers:
            raise ConfigError(
                f"llm_conf: {type(self.model).__name__} has no gradient checkpointing"
            )
        for layer in layers:
            # partial, not a closure: a deep copy of the model then calls its own layers
            layer.forward = partial(_checkpointed, layer.forward)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LLM:
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_dtype, recurse)


class _GreedyScores(LogitsProcessor):
    """Notes the log probability of each step's likeliest token, (B,) a step."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.steps.append(scores.float().log_softmax(-1).amax(-1))
        return scores


class _RowLimit(StoppingCriteria):
    """Ends each row at its own number of tokens (beam search hands in several a row)."""

    def __init__(self, limits: Tensor) -> None:
        self.limits = limits

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        copies = input_ids.shape[0] // len(self.limits)
        limits = self.limits.to(input_ids.device).repeat_interleave(copies)
        return input_ids.shape[1] >= limits


def _name_embeddings(model: Any) -> None:
    """Let ``generate`` read embeddings where a family passes them on without naming them.

    transformers asks the signature, and refuses Bamba, Falcon-H1 and Nemotron-H, which only say
    ``**kwargs``. Whether a family really reads them is tried by `LLM.check_reads_embeddings`.
    """
    prepare = model.prepare_inputs_for_generation
    if "inputs_embeds" not in inspect.signature(prepare).parameters:
        # partial, not a closure: a deep copy of the model then calls its own
        model.prepare_inputs_for_generation = partial(_prepare_inputs, prepare)


def _prepare_inputs(
    prepare: Callable[..., Any], input_ids: Any, inputs_embeds: Any = None, **kwargs: Any
) -> Any:
    return prepare(input_ids, inputs_embeds=inputs_embeds, **kwargs)


def _checkpointed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if torch.is_grad_enabled() and kwargs.get("cache", kwargs.get("past_key_values")) is None:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return forward(*args, **kwargs)
