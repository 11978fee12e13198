"""From speech (or text) to text: a trained model, its prompts and a search."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from espnet_part.config import build
from espnet_part.data.audio import BadAudio, check_range
from espnet_part.data.chat import ChatFormat
from espnet_part.data.collate import Row, collate, make_row
from espnet_part.data.datadir import Example
from espnet_part.data.prompts import Prompts, Wording, parse_wording
from espnet_part.decode import engines
from espnet_part.decode.budget import Budget
from espnet_part.decode.detect import CTC_WEIGHT, TOKENS, Guess, candidates, weigh
from espnet_part.decode.direction import Direction
from espnet_part.decode.engines.base import Prompt
from espnet_part.decode.halving import run_or_name
from espnet_part.decode.search import Search
from espnet_part.errors import ConfigError, DataError
from espnet_part.model.adapters import ADAPTERS
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.tasks import ASR, TASKS


class Hypothesis(NamedTuple):
    """One hypothesis, in the order of ESPnet's Speech2Text.

    Attributes:
        text: without special tokens.
        tokens, token_int: without the end token.
        score: natural logarithm of its probability; normalised by length in beam search.
    """

    text: str
    tokens: list[str]
    token_int: list[int]
    score: float


class Decoded(NamedTuple):
    """A row and its hypotheses, the best one first; or none and the reason."""

    row: Row
    hypotheses: list[Hypothesis]
    reason: str


_Heard = tuple[torch.Tensor, torch.Tensor]  # encoder states (1, states, dim), and length (1,)
_SECONDS_AT_ONCE = {"cpu": 30}  # of speech, padding included; more is no faster
_IMPOSSIBLE = 100.0  # nats a character, in place of infinitely many: a text longer than the speech
_TOKEN = SAMPLE_RATE // 4  # about the samples in which one is spoken


class Speech2Text:
    """A trained model ready to decode.

    The tokens of an utterance do not depend on the batch that it is decoded in (in float32).

    Attributes:
        trained_on: (task, language, target language) that the model was trained on; empty where its
            weights do not say.

    Args:
        part_train_config: `config.yaml` of the training, whose relative paths start from the
            recipe's directory (the one above the file that has its prompts, or the current one);
            or of a packed model.
        part_model_file: trained weights; without any, the adapter is random.
        device: as torch names it.
        dtype: "float32" or "bfloat16" (weights of the LLM in it, the rest under autocast).
        batch_size: most utterances decoded at once; does not count where ``batch_bins`` is given.
        batch_bins: most positions of the LLM at once; see `espnet_part.decode.budget`.
        merge_lora: put LoRA into the LLM's weights, which is faster; in float32 alone.
        engine: what runs the LLM: "transformers", or "vllm", which takes the LLM out of ``model`` and
            merges LoRA in any dtype; see `espnet_part.decode.engines`.
        search: settings of `Search` by name: beam_size, max_tokens_per_second, …

    Raises:
        ConfigError, DataError: a file is missing or wrong, or does not belong to the other.
    """

    trained_on: frozenset[tuple[str, str, str]] = frozenset()

    def __init__(
        self,
        part_train_config: str | Path,
        part_model_file: str | Path | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 8,
        merge_lora: bool = True,
        engine: str = engines.DEFAULT,
        batch_bins: int | None = None,
        **search: Any,
    ):
        from espnet_part.model import lora
        from espnet_part.model.build import build_model, load_tokenizer
        from espnet_part.model.config import ModelConfig
        from espnet_part.pack.locations import load_run_config
        from espnet_part.train.checkpoint import load_trained

        if dtype not in ("float32", "bfloat16"):
            raise ConfigError(f"dtype: must be float32 or bfloat16, not {dtype!r}")
        where = str(part_train_config)
        config = ModelConfig.from_mapping(load_run_config(part_train_config), where)
        if config.prompts is None:
            raise ConfigError(f"{where}: the key `prompts` is missing")
        settings = build(Search, search, "search")
        settings.check_adapter(
            ADAPTERS.conf(config.speech_adapter).HEARS
        )  # before weights are read
        most = {"batch_size": batch_size, "batch_bins": batch_bins}
        budget = build(Budget, most, "decoding")
        engines.find(engine).check(settings, budget)
        prompts = Prompts.load(config.prompts)
        llm = dataclasses.replace(config.llm_conf, dtype=dtype)  # type: ignore[arg-type]
        model = build_model(dataclasses.replace(config, llm_conf=llm))
        if part_model_file is not None:
            load_trained(model, part_model_file)
            self.trained_on = _trained_on(part_model_file)
        else:
            logging.warning("no trained weights are given: the adapter is random")
        if merge_lora and dtype == "float32" and llm.quantization is None:
            lora.merge_lora(model.llm.model, torch.float32)
        tokenizer = load_tokenizer(llm)
        self._set(model.to(device), tokenizer, prompts, settings, dtype, budget, engine)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        revision: str | None = None,
        **settings: Any,
    ) -> Speech2Text:
        """Load a model that somebody trained; the current directory does not matter.

        An archive is unpacked once, into a cache directory named after its hash
        (``$ESPNET_PART_CACHE``, by default ``~/.cache/espnet_part``). Nothing that is loaded can
        run code: weights are safetensors, and an archive with anything else is refused.

        Args:
            model: a zip of `part_pack`; the directory that it was unpacked to, or one of
                `part_export`; an experiment (``exp/part``) or a ``config.yaml`` of one; or
                ``owner/name`` of the Hugging Face hub.
            revision: branch, tag or commit of the hub's model.
            settings: of `Speech2Text`: device, dtype, batch_bins, beam_size, …; and
                ``part_model_file`` for other weights than the model's own.

        Raises:
            ConfigError, DataError: there is no such model, or it is damaged, incomplete, or belongs
                to other base models.
        """
        from espnet_part.pack.stored import find_model

        found = find_model(model, revision)
        weights = settings.pop("part_model_file", None) or found.weights
        return cls(found.config, weights, **settings)

    @classmethod
    def from_parts(
        cls,
        model: Any,
        tokenizer: Any,
        prompts: Prompts,
        search: Search | None = None,
        dtype: str = "float32",
        batch_size: int = 8,
        engine: str = engines.DEFAULT,
        batch_bins: int | None = None,
    ) -> Speech2Text:
        """Decode with a model that is in memory already."""
        self = cls.__new__(cls)
        budget = build(Budget, {"batch_size": batch_size, "batch_bins": batch_bins}, "decoding")
        self._set(model, tokenizer, prompts, search or Search(), dtype, budget, engine)
        return self

    def _set(
        self,
        model: Any,
        tokenizer: Any,
        prompts: Prompts,
        search: Search,
        dtype: str,
        budget: Budget,
        engine: str,
    ) -> None:
        self._hears = hasattr(model.adapter, "second_opinion")
        search.check_adapter(self._hears)
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.chat = ChatFormat(tokenizer)
        self.prompts = prompts
        self.search = search
        self.dtype = dtype
        self.device = next(model.parameters()).device
        self.engine = engines.find(engine)(model.llm, search, budget, self._running)

    def __call__(
        self,
        speech: np.ndarray | torch.Tensor | None = None,
        task: str = ASR.name,
        lang: str | None = None,
        tgt: str | None = None,
        text: str | None = None,
        prompt: str | None = None,
        context: str = "",
    ) -> list[Hypothesis]:
        """Decode one utterance.

        Args:
            speech: (samples,) 16 kHz, in [-1, 1]; None for a task that reads none.
            task: a name of `tasks.TASKS`: asr, s2tt or t2tt.
            lang: language heard or read, "de"; that of speech is detected where it is not given
                (`detect_language` says which it is, and how sure that is).
            tgt: language to be written; by default the one read, where the task allows.
            text: what a task reads that reads text.
            prompt: a template such as "{speech}\\nWrite down the {lang} speech, without fillers."
                in place of the model's own (`conf/prompts.yaml` has those, and says what stands in
                braces).
            context: what the LLM is told beforehand, such as names that may be said, "Names: Nguyen,
                Kraków": a line of its own before the prompt.

        Returns:
            The best hypotheses, the best one first: as many as the search's ``nbest``.

        Raises:
            TypeError: speech is no waveform, but the path of a file, say.
            ValueError: unknown task, no language of a text, no target language for a translation, or
                samples that are no waveform in [-1, 1].
            ConfigError: no language, and it cannot be detected; or a wrong template.
        """
        if task not in TASKS:
            raise ValueError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
        if lang is None and TASKS[task].speech and speech is not None:
            possible = candidates(self.trained_on, Direction(task, "", tgt or ""))
            lang = self.detect_language(speech, possible)[0].lang
        if lang is None:
            raise ValueError(f"the task {task} needs `lang`, the language heard or read: lang='de'")
        written = TASKS[task].target(lang, tgt)
        if not written:
            raise ValueError(f"the task {task} needs `tgt`, the language to be written")
        if TASKS[task].why_not(lang, written):
            raise ValueError(TASKS[task].why_not(lang, written))
        if TASKS[task].text != (text is not None):
            verb = "needs" if text is None else "reads no"
            raise ValueError(f"the task {task} {verb} text")
        if speech is not None and not TASKS[task].speech:
            raise ValueError(f"the task {task} reads no speech")
        samples = None
        if TASKS[task].speech:
            if speech is None:
                raise ValueError(f"the task {task} needs speech")
            samples = _waveform(speech)
        example = Example("utterance", task, lang, written, "", text, audio="")
        wording = None if prompt is None else parse_wording(prompt, task, "prompt")
        return self.decode_rows([self.prepare(example, samples, wording, context)])[0]

    def detect_language(
        self, speech: np.ndarray | torch.Tensor, langs: Sequence[str] | None = None
    ) -> list[Guess]:
        """Which language is spoken: that in whose prompt the model is surest of what it writes.

        Args:
            speech: (samples,) 16 kHz, in [-1, 1]; some seconds of one language.
            langs: those that it may be; by default all that the model was trained to transcribe. One
                alone it is.

        Returns:
            (language, probability), the likeliest first; the probabilities sum to 1.

        Raises:
            TypeError, ValueError: as decoding.
            ConfigError: the model does not say what it was trained on, or not to transcribe one of
                ``langs``.
            DataError: the speech cannot be decoded.
        """
        samples = _waveform(speech)
        if langs is not None and len(langs) == 1:
            return [Guess(langs[0], 1.0)]
        langs = candidates(self.trained_on, Direction(ASR.name, "", ""), langs)
        asked = [Direction(ASR.name, lang, lang).example(lang) for lang in langs]
        rows = [self.prepare(example, samples) for example in asked]
        read: list[tuple[Prompt, _Heard | None]] = []
        for group in self._encoded_together(rows):
            for _, each, reason in run_or_name(group, partial(self._read, keep=True)):
                if each is None:
                    raise DataError(reason)
                read.append(each)
        prompts = [prompt._replace(limit=min(prompt.limit, TOKENS)) for prompt, _ in read]
        answers = dict(self.engine.generate(prompts))
        scores = []
        for number, (prompt, (_, heard)) in enumerate(zip(prompts, read, strict=True)):
            answer = answers[number]
            if isinstance(answer, Exception):
                raise answer
            length = min(len(answer.tokens) + 1, prompt.limit)
            score = self.search.per_token(answer.score, length)
            if heard is not None:
                text = self._hypothesis(answer.tokens, answer.score).text
                score -= CTC_WEIGHT * min(self._disbelief(text, heard)[0], _IMPOSSIBLE)
            scores.append(score)
        return weigh(langs, scores)

    def why_strange(self, task: str, lang: str, tgt: str) -> str | None:
        """What is to be said of a task and languages that the model was not trained on; None for others."""
        if not self.trained_on or (task, lang, tgt) in self.trained_on:
            return None
        same = sorted((one, other) for name, one, other in self.trained_on if name == task)
        known = ", ".join(one if one == other else f"{one} to {other}" for one, other in same)
        asked = lang if lang == tgt else f"{lang} to {tgt}"
        return f"the model was not trained on {task} of {asked} ({task}: {known or 'nothing'})"

    def decode_batch(
        self, examples: Sequence[Example], speech: Sequence[np.ndarray | None] | None = None
    ) -> list[list[Hypothesis]]:
        """Decode many utterances; answers in the given order.

        Args:
            examples: what to decode; their ``text`` is not looked at.
            speech: (samples,) 16 kHz waveforms; read from the examples' audio where not given.

        Raises:
            BadAudio: an utterance's audio cannot be used.
        """
        given = [None] * len(examples) if speech is None else list(speech)
        return self.decode_rows([self.prepare(e, s) for e, s in zip(examples, given, strict=True)])

    def prepare(
        self,
        example: Example,
        speech: np.ndarray | None = None,
        prompt: Wording | None = None,
        context: str = "",
    ) -> Row:
        """Read and tokenise one example.

        Args:
            speech: (samples,) 16 kHz, where it is in memory already.
            prompt: in place of the model's own.
            context: what the LLM is told beforehand.

        Raises:
            BadAudio: its audio cannot be used.
            ConfigError: no prompt for its task.
        """
        example = dataclasses.replace(example, feats=None)  # decoding always runs the encoder
        return make_row(
            example,
            self.prompts,
            self.chat,
            wording=0 if prompt is None else prompt,
            context=context,
            answer=False,
            speech=speech,
        )

    def limit(self, row: Row) -> int:
        """Most new tokens of a hypothesis.

        Raises:
            DataError: prompt and answer do not fit into the LLM's context.
        """
        prompt, limit = self._size(row)
        context = self.model.llm.max_length
        if context is None:
            return limit
        if prompt >= context:
            raise DataError(f"{prompt} positions of prompt, the LLM's context has {context}")
        return min(limit, context - prompt)

    def _size(self, row: Row) -> tuple[int, int]:
        """Positions of a row's prompt, and most new tokens of it, whatever the LLM's context."""
        prompt = len(row.tokens.prefix_ids) + len(row.tokens.suffix_ids)
        if row.speech is None:
            source = self.tokenizer(row.example.src_text or "", add_special_tokens=False)
            return prompt, self.search.limit_text(len(source["input_ids"]))
        speech, limit = self._speech_size(len(row.speech))
        return prompt + speech, limit

    def _speech_size(self, samples: int) -> tuple[int, int]:
        """The same of the speech alone."""
        frames = self.model.encoder.output_lengths(torch.tensor([samples]))
        limit = self.search.limit_speech(samples / SAMPLE_RATE)
        return int(self.model.adapter.output_lengths(frames)[0]), limit

    def at_once(self, seconds: float) -> int:
        """About how many utterances of so many seconds are decoded at once."""
        budget = self.engine.budget.beams(self.search.beam_size)
        size = sum(self._speech_size(round(seconds * SAMPLE_RATE)))
        return max(1, budget.most // budget.cost([size]))

    def decode_rows(self, rows: Sequence[Row]) -> list[list[Hypothesis]]:
        """Decode prepared rows, sorted by length into batches; answers in the given order.

        Raises:
            DataError: a row cannot be decoded: it does not fit into the LLM's context, say.
        """
        found: dict[int, list[Hypothesis]] = {}
        ordered: list[Row] = sorted(rows, key=lambda row: -row_cost(row))
        for row, hypotheses, reason in self.decode_stream(ordered):
            if not hypotheses:
                raise DataError(reason)
            found[id(row)] = hypotheses
        return [found[id(row)] for row in rows]

    def decode_stream(self, rows: Iterable[Row | None]) -> Iterator[Decoded]:
        """Decode prepared rows as they come, as many at once as there is room for.

        Args:
            rows: for speed, neighbours are of like length, and the longest come first. None says
                that there is none at present, so that what is being decoded goes on.

        Yields:
            A row and its hypotheses, or why there are none, in the order in which they are done.
        """
        underway: dict[int, tuple[Row, _Heard | None]] = {}
        for number, answer in self.engine.generate(self._prompts(rows, underway)):
            row, heard = underway.pop(number)
            if isinstance(answer, Exception):
                yield Decoded(row, [], str(answer))
                continue
            best, *others = (self._hypothesis(a.tokens, a.score) for a in (answer, *answer.others))
            if heard is not None:
                best = self._doubt(best, heard)
            yield Decoded(row, [best, *others], "")

    def _prompts(
        self, rows: Iterable[Row | None], underway: dict[int, tuple[Row, _Heard | None]]
    ) -> Iterator[Prompt | Exception | None]:
        """What the engine is to answer; ``underway`` is told what each prompt is of."""
        read_group = partial(self._read, keep=self.search.ctc_margin is not None)
        number = 0
        for group in self._encoded_together(rows):
            for row, read, reason in run_or_name(group, read_group):
                prompt, heard = (DataError(reason), None) if read is None else read
                underway[number] = row, heard
                number += 1
                yield prompt
            if not group:
                yield None

    def _encoded_together(self, rows: Iterable[Row | None]) -> Iterator[list[Row]]:
        """Groups of neighbours that are encoded at once, with little padding; none at a None.

        By ``batch_bins``, they are no more than the LLM takes at once.
        """
        samples = _SECONDS_AT_ONCE.get(self.device.type, 480) * SAMPLE_RATE
        group: list[Row] = []
        sizes: list[int] = []
        for row in rows:
            bins = self.engine.budget.batch_bins
            costs = [row_cost(other) for other in (*group, row)] if row is not None else []
            sizes.append(sum(self._size(row)) if row is not None and bins is not None else 0)
            full = max(costs, default=0) * len(costs) > samples
            full = full or (bins is not None and max(sizes) * len(sizes) > bins)
            if group and (row is None or full or max(costs) > 1.5 * min(costs)):
                yield group
                group, sizes = [], sizes[-1:]
            if row is None:
                yield []
                sizes = []
            else:
                group.append(row)
        if group:
            yield group

    def _read(self, rows: Sequence[Row], keep: bool) -> list[tuple[Prompt, _Heard | None]]:
        """Run encoder and adapter over rows.

        Args:
            keep: whether what an adapter hears by itself will be asked for.

        Returns:
            What the engine is to answer, and what the adapter hears it in, for `_disbelief`; None of a
            translation, and where the adapter does not hear.
        """
        limits = [self.limit(row) for row in rows]
        batch = {
            key: value.to(self.device)
            for key, value in collate(rows, self.chat.pad_token_id).items()
            if isinstance(value, torch.Tensor)
        }
        with self._running():
            batch = self.model.encode(batch)
            prompts = map(Prompt, self.model.prompts(**batch), limits)
        heard: list[_Heard | None] = [None] * len(rows)
        if keep and self._hears and batch.get("encoder_out") is not None:
            for clip, row in enumerate(batch["speech_row"].tolist()):
                if TASKS[rows[row].example.task].transcribes:
                    length = batch["encoder_out_lengths"][clip : clip + 1]
                    heard[row] = batch["encoder_out"][clip : clip + 1, : int(length)], length
        return list(zip(prompts, heard, strict=True))

    def _disbelief(self, text: str, heard: _Heard) -> tuple[float, str, float]:
        """By how many nats a character the adapter finds a text less likely than what it hears by
        itself; that, and its log probability."""
        with self._running():
            (own,), (score,), (margin,) = self.model.adapter.second_opinion(*heard, [text])
        return margin, own, score

    def _doubt(self, found: Hypothesis, heard: _Heard) -> Hypothesis:
        """A transcription, or what the adapter hears where that is not what it hears."""
        margin, own, score = self._disbelief(found.text, heard)
        if self.search.ctc_margin is None or margin <= self.search.ctc_margin:
            return found
        return self._hypothesis(self.tokenizer(own, add_special_tokens=False)["input_ids"], score)

    def _hypothesis(self, token_int: list[int], score: float) -> Hypothesis:
        text = self.tokenizer.decode(token_int, skip_special_tokens=True).strip()
        tokens = self.tokenizer.convert_ids_to_tokens(token_int)
        # an id beyond the tokenizer, as a padded output layer may give, has no name
        tokens = [
            f"<{n}>" if token is None else token for n, token in zip(token_int, tokens, strict=True)
        ]
        return Hypothesis(text, tokens, token_int, float(score))

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        with torch.inference_mode():
            if self.dtype == "float32":
                yield
            else:
                with torch.autocast(self.device.type, dtype=torch.bfloat16):
                    yield


def _waveform(speech: np.ndarray | torch.Tensor) -> np.ndarray:
    """(samples,) float32, checked."""
    if isinstance(speech, (str, bytes, Path)):
        raise TypeError(
            f"speech must be a waveform, not a path: read {speech!r} with soundfile.read, or give the "
            "file to part_transcribe"
        )
    waveform = torch.as_tensor(speech).detach().cpu()
    if not waveform.is_floating_point():
        raise ValueError(f"speech must be floats in [-1, 1], not {waveform.dtype}")
    samples = waveform.float().numpy()
    if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
        raise ValueError(f"speech must be finite samples of one channel: {samples.shape}")
    try:
        check_range(samples)
    except BadAudio as error:
        raise ValueError(f"speech must be floats in [-1, 1]: {error}") from None
    return samples


def _trained_on(weights: str | Path) -> frozenset[tuple[str, str, str]]:
    from espnet_part.weights import read_header

    try:
        found = read_header(weights)[0].get("strata", [])
        return frozenset((str(task), str(lang), str(tgt)) for task, lang, tgt in found)
    except (TypeError, ValueError):  # somebody else's header: it says nothing
        return frozenset()


def row_cost(row: Row) -> int:
    """What rows are sorted by, so that a batch has little padding: samples, or what a text is as long as."""
    if row.speech is not None:
        return len(row.speech)
    return _TOKEN * (len(row.tokens.prefix_ids) + len(row.tokens.suffix_ids))
