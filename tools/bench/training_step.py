"""Cost of a training step beside Hugging Face's Qwen2-Audio, on a machine without accelerator.

Both systems have the same encoder and LLM sizes with random weights, train the same parts with the
same optimizer, and see the same clips in the same process, in turns. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import espnet_part  # noqa: F401 - before torch, so that its threads wait asleep

if TYPE_CHECKING:
    from espnet_part.data.datadir import Example

SAMPLE_RATE = 16000
TOKENS_PER_SECOND = 2.5
PROMPT = "Transcribe the German speech"
LORA: dict[str, Any] = {"rank": 8, "alpha": 16, "targets": ["q_proj", "v_proj"]}

#: 5.0 M trainable parameters, and 0.4 M of fixed sinusoidal positions.
ENCODER = {
    "d_model": 256,
    "encoder_layers": 6,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 1024,
    "num_mel_bins": 80,
}
#: 12.6 M parameters, 8.2 M of them the tied embeddings.
LANGUAGE_MODEL: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 704,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
#: A phase's trainable set, in the words of a stage file.
TRAINED = {
    "adapter+encoder": ["adapter", "encoder"],
    "adapter+encoder+lora": ["adapter", "encoder", "llm.lora"],
}
PAIRS = ("encoder", "llm")
VARIANTS = ("pad_to_30s", "head_everywhere", "unplanned")


@dataclass
class Cost:
    """What a repetition took. Times are in seconds, CPU times summed over threads.

    Attributes:
        steps, clips: optimizer steps, and the clips in them.
        audio: seconds of audio in the clips.
        cpu, wall: forward, backward and optimizer. Log-mel features are a part of this project's
            forward pass, and of the data for Hugging Face.
        data_cpu: reading, tokenising, padding (and Hugging Face's features).
        encoder, llm: (real, computed) encoder frames and LLM positions.
    """

    steps: int = 0
    clips: int = 0
    audio: float = 0.0
    cpu: float = 0.0
    wall: float = 0.0
    data_cpu: float = 0.0
    encoder: list[int] = field(default_factory=lambda: [0, 0])
    llm: list[int] = field(default_factory=lambda: [0, 0])

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """Time a step."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.cpu += time.process_time() - cpu
        self.wall += time.perf_counter() - wall
        self.steps += 1

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Time the making of a batch."""
        cpu = time.process_time()
        yield
        self.data_cpu += time.process_time() - cpu

    def count(
        self, encoder: Sequence[int], encoder_to: int, llm: Sequence[int], llm_to: int
    ) -> None:
        """Add a batch's real lengths and the length that each is computed to."""
        for pair, lengths, longest in (
            (self.encoder, encoder, encoder_to),
            (self.llm, llm, llm_to),
        ):
            pair[0] += sum(lengths)
            pair[1] += len(lengths) * longest
        self.clips += len(encoder)

    @property
    def rate(self) -> float:
        """Audio-seconds a CPU-second of training steps."""
        return self.audio / self.cpu

    @property
    def rate_with_data(self) -> float:
        """The same with the making of the batches."""
        return self.audio / (self.cpu + self.data_cpu)


def padding_share(cost: Cost, *parts: str) -> float:
    """Share of padding among the computed encoder frames, LLM positions, or both."""
    pairs = [getattr(cost, part) for part in parts]
    return 1 - sum(real for real, _ in pairs) / sum(computed for _, computed in pairs)


def total(costs: Sequence[Cost]) -> Cost:
    """Add up repetitions."""
    result = Cost()
    for cost in costs:
        for name, value in asdict(cost).items():
            old = getattr(result, name)
            added = (
                [a + b for a, b in zip(old, value, strict=True)] if name in PAIRS else old + value
            )
            setattr(result, name, added)
    return result


# --- the data --------------------------------------------------------------------------------------


def durations(clips: int, mean: float) -> list[float]:
    """Lengths in seconds with the given mean: quantiles of a log-normal distribution, shuffled.

    Its shape (sigma 0.6) is that of read and prepared speech: from 1.3 to 26 s around a median of 6 s.
    """
    import numpy as np

    quantiles = [(n + 0.5) / clips for n in range(clips)]
    normal = statistics.NormalDist()
    lengths = np.exp([0.6 * normal.inv_cdf(q) for q in quantiles])
    lengths = np.clip(lengths * mean / lengths.mean(), 1.0, 29.9)
    return np.random.default_rng(1).permutation(lengths * mean / lengths.mean()).tolist()


def make_examples(directory: Path, clips: int, mean: float) -> list[Example]:
    """Noise of those lengths as 16-bit files, with answers of about 2.5 tokens a second."""
    import numpy as np
    import soundfile

    from espnet_part.data.datadir import Example

    rng = np.random.default_rng(2)
    examples = []
    for number, seconds in enumerate(durations(clips, mean)):
        samples = round(seconds * SAMPLE_RATE)
        path = directory / f"{number:03d}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(samples), SAMPLE_RATE)
        words = max(1, round(seconds * TOKENS_PER_SECOND * rng.uniform(0.8, 1.2)))
        text = " ".join(f"w{n}" for n in rng.integers(0, 30000, words))
        example = Example(f"utt{number:03d}", "asr", "de", "de", text)
        examples.append(replace(example, audio=str(path), num_samples=samples))
    return examples


def make_tokenizer(directory: Path) -> Path:
    """A tokenizer of 32000 words with Qwen's chat format; a word of an answer is a token."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    special += ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
    words = [*special, "<unk>", "user", "assistant", *PROMPT.split()]
    words += ["Hello", "1"]  # loading a tokenizer tries them
    words += [f"w{n}" for n in range(LANGUAGE_MODEL["vocab_size"] - len(words))]
    model = models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    fast.save_pretrained(directory)
    return directory


# --- the systems -----------------------------------------------------------------------------------


class Part:
    """This project: its model, its batches and its step.

    Args:
        examples, tokenizer: the data.
        trained: see `TRAINED`.
        bins: budget of a step (see `espnet_part.data.batching.Cost`).
        variant: one property undone: "pad_to_30s" (the encoder pads every clip to 30 s),
            "head_everywhere" (the LLM's head scores all positions), "unplanned" (four random clips
            a step); None for the project as it is.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: Path,
        trained: Sequence[str],
        bins: float,
        variant: str | None = None,
    ) -> None:
        import torch

        from espnet_part.data.chat import ChatFormat
        from espnet_part.data.dataset import BatchConfig, Corpus, PhaseData
        from espnet_part.data.examples import ExampleList
        from espnet_part.data.prompts import Prompts
        from espnet_part.model.build import build_model, load_tokenizer
        from espnet_part.model.config import ModelConfig
        from espnet_part.schedule.activation import activate
        from espnet_part.schedule.selectors import select

        mapping = {
            "encoder_conf": {"config": ENCODER, "pad_to_30s": variant == "pad_to_30s"},
            "speech_adapter": "linear",
            "speech_adapter_conf": {"stack": 2, "hidden": 256},
            "llm_conf": {
                "config": LANGUAGE_MODEL,
                "tokenizer": str(tokenizer),
                "dtype": "float32",
            },
            "lora_conf": LORA if "llm.lora" in trained else None,
        }
        config = ModelConfig.from_mapping(mapping, "benchmark")
        self.model = build_model(config)
        names = [name for name, _ in self.model.named_parameters()]
        activate(self.model, {n for s in trained for n in select(s, names, self.model.protected)})
        self.optimizer = make_optimizer(self.model)
        batch = BatchConfig(size=4) if variant == "unplanned" else BatchConfig(bins)

        def lengths(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            frames = self.model.encoder.output_lengths(samples)
            return frames, self.model.adapter.output_lengths(frames)

        prompts = Prompts.from_mapping({"asr": {"en": ["{speech} " + PROMPT]}}, "benchmark")
        chat = ChatFormat(load_tokenizer(config.llm_conf))
        with _unplanned() if variant == "unplanned" else contextlib.nullcontext():
            self.data = PhaseData(
                Corpus(ExampleList(examples), prompts, chat, lengths), ["asr"], batch
            )
        self.variant = variant
        self.restart()

    def restart(self) -> None:
        """Begin with the first step of an epoch."""
        self.steps = self._stream()

    def _stream(self) -> Iterator[list[dict[str, Any]]]:
        from espnet_part.data.dataset import DataPosition
        from espnet_part.data.heard import Heard

        heard = Heard.nothing(len(self.data.corpus.examples))
        for _, batches in self.data.loader(heard, DataPosition(), sys.maxsize):
            yield batches

    def run(self, steps: int | None = None) -> Cost:
        """Train on all clips once, or for some steps.

        The batches are sorted by length, so a part of an epoch would not be like the whole.
        """
        from espnet_part.train.outliers import Outliers
        from espnet_part.train.parallel import Parallel
        from espnet_part.train.step import train_step

        cost = Cost()
        with _head_everywhere() if self.variant == "head_everywhere" else contextlib.nullcontext():
            while (
                cost.clips < len(self.data.corpus.examples) if steps is None else cost.steps < steps
            ):
                with cost.loading():
                    batches = next(self.steps)
                with cost.stepping():
                    train_step(
                        self.model,
                        batches,
                        self.optimizer,
                        ("asr",),
                        Parallel(),
                        amp=False,
                        grad_clip=1.0,
                        grad_clip_type=2.0,
                        fault=Outliers(None).fault,
                    )
                for batch in batches:
                    self._count(batch, cost)
        return cost

    def _count(self, batch: dict[str, Any], cost: Cost) -> None:
        frames = self.model.encoder.output_lengths(batch["speech_lengths"])
        positions = batch["input_lengths"] + self.model.adapter.output_lengths(frames)
        longest = 1500 if self.variant == "pad_to_30s" else int(frames.max())
        cost.count(frames.tolist(), longest, positions.tolist(), int(positions.max()))
        cost.audio += batch["audio_seconds"]


@contextlib.contextmanager
def _head_everywhere() -> Iterator[None]:
    """Let the LLM's head score every position, as in a usual full-logit loss."""
    from torch import Tensor

    from espnet_part.model import speech_llm
    from espnet_part.model.loss import labelled_loss

    def full_loss(hidden: Tensor, labels: Tensor, logits: Any) -> Any:
        scores = logits(hidden).float()
        return labelled_loss(scores, labels, lambda labelled: labelled, chunk=labels.numel())

    with mock.patch.object(speech_llm, "labelled_loss", full_loss):
        yield


@contextlib.contextmanager
def _unplanned() -> Iterator[None]:
    """Let every step hold clips as they come, whatever their lengths."""
    from espnet_part.data import dataset

    with mock.patch.object(dataset, "POOL_STEPS", 1):
        yield


class HuggingFace:
    """transformers' Qwen2-Audio: every clip padded to 30 s, logits and loss at all real positions.

    Args:
        examples, tokenizer: the data.
        trained: as for `Part`.
        batch_size: clips a step, drawn at random; the usual fine-tuning scripts pad them together.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: Path,
        trained: Sequence[str],
        batch_size: int = 4,
    ) -> None:
        import numpy as np
        from peft import LoraConfig, inject_adapter_in_model
        from transformers import (
            AutoTokenizer,
            Qwen2AudioConfig,
            Qwen2AudioForConditionalGeneration,
            Qwen2AudioProcessor,
            WhisperFeatureExtractor,
        )

        fast: Any = AutoTokenizer.from_pretrained(tokenizer)
        fast.padding_side = "right"
        extractor = WhisperFeatureExtractor(feature_size=ENCODER["num_mel_bins"])
        self.processor = Qwen2AudioProcessor(extractor, fast)
        config = Qwen2AudioConfig(
            audio_config={"model_type": "qwen2_audio_encoder", **ENCODER},
            text_config=dict(LANGUAGE_MODEL),
            audio_token_index=fast.convert_tokens_to_ids("<|AUDIO|>"),
        )
        model = Qwen2AudioForConditionalGeneration(config)
        if "llm.lora" in trained:
            lora = LoraConfig(
                r=LORA["rank"], lora_alpha=LORA["alpha"], target_modules=LORA["targets"]
            )
            inject_adapter_in_model(lora, model.model.language_model)
        for name, parameter in model.named_parameters():
            speech = "audio_tower." in name or "multi_modal_projector." in name
            lora_weight = ".lora_" in name
            parameter.requires_grad_((speech or lora_weight) and "embed_positions" not in name)
        self.model = model.train()
        self.optimizer = make_optimizer(model)
        order = np.random.default_rng(3).permutation(len(examples))
        self.batches = [
            [examples[n] for n in order[start : start + batch_size]]
            for start in range(0, len(order), batch_size)
        ]
        self.next = itertools.cycle(self.batches)

    def run(self, steps: int = 1) -> Cost:
        """Train on the next batches."""
        import torch

        cost = Cost()
        for examples in itertools.islice(self.next, steps):
            with cost.loading():
                batch = self._batch(examples)
            with cost.stepping():
                loss = self.model(**batch).loss
                loss.backward()
                trained = [p for p in self.model.parameters() if p.grad is not None]
                norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
                assert torch.isfinite(norm)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
            frames = [(int(n) + 1) // 2 for n in batch["feature_attention_mask"].sum(1)]
            positions = batch["attention_mask"].sum(1).tolist()
            cost.count(frames, 1500, positions, batch["input_ids"].shape[1])
            cost.audio += sum((e.num_samples or 0) for e in examples) / SAMPLE_RATE
        return cost

    def _batch(self, examples: Sequence[Example]) -> dict[str, Any]:
        import soundfile

        audio = [soundfile.read(str(e.audio), dtype="float32")[0] for e in examples]
        prompt = (
            "<|im_start|>user\n<|audio_bos|><|AUDIO|><|audio_eos|>"
            f"{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
        )
        batch = self.processor(
            text=[f"{prompt}{e.text}<|im_end|>" for e in examples],
            audio=audio,
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            padding=True,
        )
        labels = batch["input_ids"].clone()
        lengths = batch["attention_mask"].sum(1).tolist()
        for row, example, length in zip(labels, examples, lengths, strict=True):
            row[: length - len(example.text.split()) - 1] = -100
            row[length:] = -100
        return {**batch, "labels": labels}


def make_optimizer(model: Any) -> Any:
    """AdamW over what trains."""
    import torch

    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)


# --- the comparison --------------------------------------------------------------------------------


def compare(
    systems: dict[str, Part | HuggingFace], repetitions: int, hf_steps: int
) -> dict[str, list[Cost]]:
    """Let the systems take turns, after a step each that is not counted."""
    costs: dict[str, list[Cost]] = {name: [] for name in systems}
    for system in systems.values():
        system.run(steps=1)
        if isinstance(system, Part):
            system.restart()
    for _ in range(repetitions):
        for name, system in systems.items():
            is_hf = isinstance(system, HuggingFace)
            costs[name].append(system.run(hf_steps) if is_hf else system.run())
            print(f"  {name}: {costs[name][-1].rate:.1f} audio-s a CPU-s", flush=True)
    return costs


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median, and the smallest and the largest value."""
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


HEADER = """\
| trained | threads | system | audio-s a CPU-s | beside HF | with data | beside HF | CPU-s a step | \
clips a step | audio-s a wall-s | padding: encoder | LLM | both |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


def table_rows(trained: str, threads: int, costs: dict[str, list[Cost]]) -> list[str]:
    """Lines of the Markdown table.

    Rates are medians with the smallest and the largest over repetitions. Shares, and the ratios to
    HF's rate, are of all repetitions together: HF's see different clips.
    """
    whole = {name: total(repeated) for name, repeated in costs.items()}
    reference = whole["HF Qwen2-Audio"]
    rows = []
    for name, repeated in costs.items():
        cost = whole[name]
        cells = [
            trained,
            str(threads),
            name,
            spread([c.rate for c in repeated]),
            f"{cost.rate / reference.rate:.2f}",
            spread([c.rate_with_data for c in repeated]),
            f"{cost.rate_with_data / reference.rate_with_data:.2f}",
            spread([c.cpu / c.steps for c in repeated], digits=2),
            f"{cost.clips / cost.steps:.1f}",
            spread([c.audio / c.wall for c in repeated]),
            f"{100 * padding_share(cost, 'encoder'):.1f} %",
            f"{100 * padding_share(cost, 'llm'):.1f} %",
            f"{100 * padding_share(cost, 'encoder', 'llm'):.1f} %",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def get_parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    parser = argparse.ArgumentParser(
        description="Audio-seconds per CPU-second and padding share of a training step of this "
        "project and of Hugging Face's Qwen2-Audio of like size, side by side in one process.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--clips", type=int, default=96, help="number of clips")
    parser.add_argument("--mean_seconds", type=float, default=7.1, help="their mean length")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="torch threads")
    parser.add_argument(
        "--trained", nargs="+", choices=list(TRAINED), default=list(TRAINED), help="what trains"
    )
    parser.add_argument(
        "--bins",
        type=float,
        default=2600,
        help="this project's budget of a step (LLM positions + "
        "encoder frames); the default gives steps of about four clips, as HF's",
    )
    parser.add_argument("--hf_batch_size", type=int, default=4, help="HF's clips a step")
    parser.add_argument(
        "--hf_steps",
        type=int,
        default=8,
        help="HF's steps a repetition: a third of the clips, "
        "another third in each repetition (its cost hardly depends on the clips)",
    )
    parser.add_argument("--repetitions", type=int, default=3, help="turns of each system")
    parser.add_argument(
        "--variants",
        nargs="*",
        choices=VARIANTS,
        default=[],
        help="also this project with one property undone",
    )
    parser.add_argument("--json", type=Path, help="write every repetition to this file")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Run the comparison and print the table."""
    args = get_parser().parse_args(cmd)
    import torch

    rows: list[str] = []
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        examples = make_examples(Path(directory), args.clips, args.mean_seconds)
        tokenizer = make_tokenizer(Path(directory) / "tokenizer")
        for trained, threads in itertools.product(args.trained, args.threads):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            selectors = TRAINED[trained]
            systems: dict[str, Part | HuggingFace] = {
                "this project": Part(examples, tokenizer, selectors, args.bins),
                "HF Qwen2-Audio": HuggingFace(examples, tokenizer, selectors, args.hf_batch_size),
                **{
                    f"this project, {variant}": Part(
                        examples, tokenizer, selectors, args.bins, variant
                    )
                    for variant in args.variants
                },
            }
            print(f"{trained}, {threads} threads")
            for name, system in systems.items():
                parameters = list(system.model.parameters())
                total = sum(p.numel() for p in parameters) / 1e6
                training = sum(p.numel() for p in parameters if p.requires_grad) / 1e6
                print(f"  {name}: {total:.1f} M parameters, {training:.1f} M of them train")
            costs = compare(systems, args.repetitions, args.hf_steps)
            rows += table_rows(trained, threads, costs)
            for name, repeated in costs.items():
                head = {"trained": trained, "threads": threads, "system": name}
                records += [{**head, **asdict(cost)} for cost in repeated]
    print("", HEADER, *rows, sep="\n")
    if args.json:
        args.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
