"""Pretrain the embedded corpus's LLM: a small Qwen2 that copies, translates and reads noisy text.

    python -m espnet_part.corpora.mini.pretrain_llm --langs "en de es" --prompts conf/prompts.yaml \
        --out exp/llm

makes a directory that transformers loads: tokenizer (byte-level BPE with a chat template), Qwen2
in safetensors, and ``pretraining.json`` with what it reaches on held-out text. It stands for the
instruct LLM of a real system, which can do all this before it hears any speech.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from espnet_part.command import command
from espnet_part.corpora.directory import finished_directory
from espnet_part.corpora.mini.grammar import check_languages, draw_frames, sentence
from espnet_part.corpora.mini.prepare import code_digest
from espnet_part.corpora.mini.text import ROLES, Instruction, draw_instructions, held_out
from espnet_part.files import apply_umask
from espnet_part.progress import open_bar
from espnet_part.tasks import ASR, S2TT, T2TT

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True)
class Options:
    """Sizes and steps; the same options give the same weights on the same machine."""

    langs: tuple[str, ...] = ("en", "de", "es")
    prompts: str = "conf/prompts.yaml"
    steps: int = 1500
    batch_size: int = 32
    lr: float = 3e-3
    dim: int = 160
    layers: int = 4
    heads: int = 5  # of 32 each: serving engines' attention takes multiples of 32 alone
    ff: int = 448
    vocabulary: int = 400
    evaluate: int = 20
    seed: int = 0


def train_tokenizer(langs: Sequence[str], instructions: Sequence[str], size: int, seed: int) -> Any:
    """Train a byte-level BPE tokenizer with a chat template on the grammar's training text.

    Args:
        instructions: texts of the prompts, so that they are short in tokens too.
        size: of the vocabulary, special tokens included.

    Returns:
        A transformers PreTrainedTokenizerFast.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    texts = [
        sentence(frame, lang)
        for frame in islice(draw_frames(ROLES, f"{seed} tokenizer"), 3000)
        for lang in langs
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    roles = [f"{role}\n" for role in ("system", "user", "assistant")] * 200
    tokenizer.train_from_iterator([*texts, *list(instructions) * 200, *roles], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


class Encoder:
    """Instructions to token ids, with the wordings and the chat format of PART's own training."""

    def __init__(self, tokenizer: Any, prompts: Any) -> None:
        from espnet_part.data.chat import ChatFormat

        self.tokenizer = tokenizer
        self.prompts = prompts
        self.chat = ChatFormat(tokenizer)
        self._letters: dict[str, list[int]] = {}

    def __call__(
        self, instruction: Instruction, wording: int, answer: bool = True
    ) -> tuple[list[int], list[int]]:
        """Return the ids of the prompt and of the answer with its end token (empty without)."""
        from espnet_part.data.datadir import Example
        from espnet_part.data.prompts import Prompt

        example = Example(
            utt_id="",
            task=instruction.task,
            lang=instruction.lang,
            tgt=instruction.tgt,
            text=instruction.answer,
            src_text=instruction.source,
        )
        prompt = self.prompts.render(example, wording % self.prompts.count(instruction.task))
        target = instruction.answer if answer else None
        if prompt.after is not None and not instruction.spelled:
            # the written source stands where the speech would
            prompt = Prompt(f"{prompt.before}{instruction.source}{prompt.after}")
        tokens = self.chat.encode(prompt, target)
        source = [i for letter in instruction.spelled for i in self._letter(letter)]
        return [*tokens.prefix_ids, *source, *tokens.suffix_ids], tokens.answer_ids

    def _letter(self, letter: str) -> list[int]:
        if letter not in self._letters:
            self._letters[letter] = self.tokenizer(letter, add_special_tokens=False)["input_ids"]
        return self._letters[letter]


def prompt_texts(prompts: Any, langs: Sequence[str]) -> list[str]:
    """List the texts of all wordings in all directions, without what is read."""
    from espnet_part.corpora.mini.text import directions
    from espnet_part.data.datadir import Example

    texts = []
    for lang, tgt in directions(langs):
        for task in [ASR.name] if lang == tgt else [S2TT.name, T2TT.name]:
            example = Example(utt_id="", task=task, lang=lang, tgt=tgt, text="", src_text="")
            for wording in range(prompts.count(task)):
                prompt = prompts.render(example, wording)
                texts += [prompt.before, prompt.after or ""]
    return [text.strip() for text in texts if text.strip()]


def curriculum(options: Options) -> Iterator[tuple[Instruction, int]]:
    """Yield (instruction, wording) for all steps: short sentences and clean spelling first."""
    rng = random.Random(f"{options.seed} wordings")
    total = options.steps * options.batch_size
    for share, short, spelled, noise, spans in (
        (0.25, 1.0, 0.6, 0.05, 0.8),
        (0.35, 0.2, 0.6, 0.1, 0.4),
        (0.4, 0.1, 0.7, 0.15, 0.1),
    ):
        drawn = draw_instructions(
            options.langs,
            f"{options.seed} {short}",
            short=short,
            spelled=spelled,
            noise=noise,
            spans=spans,
        )
        for instruction in islice(drawn, round(share * total) + 1):
            yield instruction, rng.randrange(12)


def batches(options: Options, encode: Encoder) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Yield batches for ever-longer sentences; within eight batches alike lengths go together."""
    rng = random.Random(f"{options.seed} order")
    examples = curriculum(options)
    steps = 0
    while steps < options.steps:
        pool = [encode(*example) for example in islice(examples, 8 * options.batch_size)]
        pool.sort(key=lambda row: len(row[0]) + len(row[1]))
        chunks = [
            pool[start : start + options.batch_size]
            for start in range(0, len(pool) - options.batch_size + 1, options.batch_size)
        ]
        rng.shuffle(chunks)
        for chunk in chunks[: options.steps - steps]:
            yield chunk
            steps += 1


def train(options: Options, model: Any, encode: Encoder) -> float:
    """Train the model in place; return the mean loss of a token over the last tenth of steps."""
    import torch

    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=options.lr,
        betas=(0.9, 0.98),
    )
    warmup = max(1, options.steps // 20)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, max(0.05, 1.6 * (1 - step / options.steps)), 1.0),
    )
    model.train()
    losses: list[float] = []
    bar = open_bar("Pretraining the LLM", options.steps, "steps")
    for rows in batches(options, encode):
        loss = answer_loss(model, rows, encode.chat.pad_token_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        scheduler.step()
        losses.append(loss.item())
        bar.update()
        if len(losses) % 20 == 0:
            bar.set_postfix(loss=f"{sum(losses[-20:]) / 20:.3f}")
    bar.close()
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def answer_loss(model: Any, rows: Sequence[tuple[list[int], list[int]]], pad: int) -> Any:
    """Mean negative log-likelihood of the answers' tokens (the LM head runs on these alone)."""
    import torch

    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.full((len(rows), longest), pad)
    before = torch.zeros(len(rows), longest, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(rows):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        before[row, len(prompt) - 1 : len(prompt) + len(answer) - 1] = True
    # right padding needs no mask under causal attention: nothing that counts looks at it
    states = model.model(input_ids=ids, use_cache=False).last_hidden_state
    targets = ids.roll(-1, dims=1)[before]
    return torch.nn.functional.cross_entropy(model.lm_head(states[before]), targets)


def evaluate(model: Any, encode: Encoder, instructions: Sequence[Instruction]) -> dict[str, Any]:
    """Greedy answers on held-out text: exact copies (percent) and BLEU by direction."""
    import sacrebleu
    import torch

    model.eval()
    answers: list[str] = []
    tokenizer = encode.tokenizer
    for start in range(0, len(instructions), 40):
        prompts = [encode(item, 0, answer=False)[0] for item in instructions[start : start + 40]]
        longest = max(map(len, prompts))
        pad = encode.chat.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        with torch.no_grad():
            output = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=60,
                do_sample=False,
                eos_token_id=encode.chat.end_token_id,
                pad_token_id=pad,
            )
        answers += tokenizer.batch_decode(output[:, longest:], skip_special_tokens=True)
    groups: dict[str, list[tuple[str, str]]] = {}
    for item, answer in zip(instructions, answers, strict=True):
        groups.setdefault(f"{item.lang}-{item.tgt}", []).append((answer, item.answer))
    result: dict[str, Any] = {"copy": {}, "bleu": {}}
    for name, pairs in groups.items():
        lang, tgt = name.split("-")
        if lang == tgt:
            exact = sum(answer == reference for answer, reference in pairs)
            result["copy"][lang] = round(100 * exact / len(pairs), 1)
        else:
            hypotheses, references = map(list, zip(*pairs, strict=True))
            tokenize = "zh" if tgt == "zh" else "13a"
            bleu = sacrebleu.corpus_bleu(hypotheses, [references], tokenize=tokenize)
            result["bleu"][name] = round(bleu.score, 1)
    return result


def pretrain(options: Options, out: Path) -> bool:
    """Pretrain into ``out`` unless it is there already; say whether anything was done.

    Raises:
        ConfigError: unknown language, or a prompts file that cannot be used.
    """
    check_languages(list(options.langs))
    from espnet_part.data.prompts import Prompts

    prompts = Prompts.load(options.prompts)
    prompts_text = Path(options.prompts).read_text(encoding="utf-8")
    made_from = {"prompts_text": prompts_text, "code": code_digest()}
    with finished_directory(out, {**asdict(options), **made_from}) as directory:
        if directory is None:
            return False
        import torch
        from transformers import Qwen2Config, Qwen2ForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        started, started_cpu = time.time(), time.process_time()
        torch.manual_seed(options.seed)
        texts = prompt_texts(prompts, options.langs)
        tokenizer = train_tokenizer(options.langs, texts, options.vocabulary, options.seed)
        encode = Encoder(tokenizer, prompts)
        config = Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=options.dim,
            intermediate_size=options.ff,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            num_key_value_heads=options.heads,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            initializer_range=0.05,
            bos_token_id=None,
            eos_token_id=encode.chat.end_token_id,
            pad_token_id=encode.chat.pad_token_id,
        )
        model = Qwen2ForCausalLM(config)
        loss = train(options, model, encode)
        result: dict[str, Any] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "loss": round(loss, 4),
        }
        for name, spelled in (("written", False), ("spelled", True)):
            items = held_out(options.langs, options.evaluate, options.seed, spelled)
            result[name] = evaluate(model, encode, items)
        result["seconds"] = round(time.time() - started, 1)
        result["cpu_seconds"] = round(time.process_time() - started_cpu, 1)
        model.save_pretrained(directory, safe_serialization=True)
        apply_umask(directory / "model.safetensors")
        tokenizer.save_pretrained(directory)
        (directory / "pretraining.json").write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps(result))
    return True


def get_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        description="Pretrain a small Qwen2 on text of the embedded corpus's grammar."
    )
    parser.add_argument("--out", type=Path, required=True, help="directory of the LLM")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default: %(default)s)")
    defaults = Options()
    parser.add_argument("--langs", default=" ".join(defaults.langs), help="(%(default)s)")
    for name, value in asdict(defaults).items():
        if name != "langs":
            parser.add_argument(f"--{name}", type=type(value), default=value, help="(%(default)s)")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = vars(get_parser().parse_args(cmd))
    out, threads = args.pop("out"), args.pop("threads")
    args["langs"] = tuple(args["langs"].replace(",", " ").split())
    import torch

    torch.set_num_threads(threads)
    if not pretrain(Options(**args), out):
        print(f"{out} is done already: nothing to do")


if __name__ == "__main__":
    main()
