"""BLEU and chrF of translations, by sacreBLEU, on raw cased and punctuated text."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_part.errors import ConfigError
from espnet_part.scripts import parts_words, runs_together, script_of

# of scripts that are not split into words by spaces and punctuation alone
_TOKENIZERS = {
    **dict.fromkeys(("Hani", "Hans", "Hant", "Bopo"), "zh"),
    **dict.fromkeys(("Jpan", "Hrkt", "Hira", "Kana"), "ja-mecab"),
    **dict.fromkeys(("Kore", "Hang"), "ko-mecab"),
}
_BLEU_COLUMNS = 10  # two lengths, then matches and totals of 1- to 4-grams
_CHRF_COLUMNS = 18  # hypothesis, reference and match counts of 1- to 6-grams of characters

MEASURES = ("bleu", "chrf", "chrf++")


@dataclass(frozen=True)
class TranslationScore:
    """Corpus-level BLEU, chrF and chrF++ (0 to 100), with the signatures to reproduce them."""

    bleu: float
    chrf: float
    chrf_plus: float
    sentences: int
    tokenizer: str
    bleu_signature: str
    chrf_signature: str
    chrf_plus_signature: str
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int

    def as_dict(self) -> dict[str, Any]:
        """The fields, with "chrf++" as sacreBLEU spells it."""
        return {key.replace("_plus", "++"): value for key, value in vars(self).items()}


def tokenizer_for(language: str, references: Iterable[str] = ()) -> str:
    """SacreBLEU's tokenizer of a target language, by the script that it is written in.

    Chinese, Japanese and Korean have their own. Where words run together otherwise (Thai, Lao, Khmer,
    Burmese, …), it is flores200 if its model is in sacreBLEU's directory, and else single characters.
    All others have 13a.

    Args:
        references: what is in fact written; a language can have several scripts.
    """
    script = script_of(language)
    if script in _TOKENIZERS:
        return _TOKENIZERS[script]
    if parts_words(language) and not runs_together(references):
        return "13a"
    return "flores200" if _has_flores200() else "char"


@functools.cache
def _has_flores200() -> bool:
    """Whether sacreBLEU would not have to load the model from the network."""
    from sacrebleu.utils import SACREBLEU_DIR

    return Path(SACREBLEU_DIR, "models", "flores200sacrebleuspm").is_file()


@dataclass(frozen=True)
class _Metrics:
    """SacreBLEU's metrics for one tokenizer, in the order of `MEASURES`."""

    bleu: Any
    chrf: Any
    chrf_plus: Any


@functools.cache
def _metrics(tokenizer: str) -> _Metrics:
    from sacrebleu.metrics import BLEU, CHRF

    try:
        # `force` only silences a hint about texts that look tokenized
        metrics = _Metrics(BLEU(tokenize=tokenizer, force=True), CHRF(), CHRF(word_order=2))
    except (RuntimeError, ImportError) as error:
        extra = tokenizer.split("-")[0]
        raise ConfigError(
            f"BLEU's tokenizer {tokenizer} cannot start ({' '.join(str(error).split())}); "
            f'install it: pip install "sacrebleu[{extra}]"'
        ) from None
    for metric in vars(metrics).values():
        metric.num_refs = 1  # for the signature, which may be asked where nothing was counted
    return metrics


def translation_statistics(
    references: Sequence[str], hypotheses: Sequence[str], tokenizer: str = "13a"
) -> np.ndarray:
    """What BLEU, chrF and chrF++ count of each sentence; all three are functions of its sum.

    Returns:
        Whole numbers, (sentences, 10 of BLEU + 24 of chrF++, the first 18 of which are chrF's).

    Raises:
        ConfigError: the tokenizer's dictionary is not installed.
        ValueError: nothing to score, or the two lists differ in length.
    """
    if len(references) != len(hypotheses) or not references:
        raise ValueError(f"{len(references)} references, {len(hypotheses)} hypotheses")
    metrics = _metrics(tokenizer)
    # SacreBLEU's own significance tests use these methods; its requirement is pinned below 3.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [
            metric._extract_corpus_statistics(list(hypotheses), [list(references)])
            for metric in (metrics.bleu, metrics.chrf_plus)
        ]
    return np.hstack([np.array(part, dtype=np.int64) for part in parts])


def figures_of(sums: np.ndarray, tokenizer: str) -> np.ndarray:
    """`MEASURES` of sums of `translation_statistics`, (samples, columns) -> (samples, 3)."""
    metrics = _metrics(tokenizer)
    figures = np.empty((len(sums), len(MEASURES)))
    for row, values in zip(figures, sums, strict=True):
        words, characters = values[:_BLEU_COLUMNS].tolist(), values[_BLEU_COLUMNS:].tolist()
        row[0] = metrics.bleu._compute_score_from_stats(words).score
        row[1] = metrics.chrf._compute_score_from_stats(characters[:_CHRF_COLUMNS]).score
        row[2] = metrics.chrf_plus._compute_score_from_stats(characters).score
    return figures


def bleu_of(sums: np.ndarray) -> np.ndarray:
    """BLEU of sums of `translation_statistics`, (samples, columns) -> (samples,).

    What `figures_of` gives, for many thousand samples at once: 4-grams, sacreBLEU's default smoothing (each
    order without a match halves the next one's share; Chen and Cherry, "A systematic comparison of smoothing
    techniques for sentence-level BLEU", 2014, method 3) and its brevity penalty.
    """
    hypothesis, reference = sums[:, 0].astype(np.float64), sums[:, 1].astype(np.float64)
    matches, totals = sums[:, 2:6].astype(np.float64), sums[:, 6:10].astype(np.float64)
    halved = np.cumsum(matches == 0, axis=1)
    shares = np.where(matches > 0, matches, 0.5**halved) / np.maximum(totals, 1)
    # an order that no hypothesis is long enough for leaves nothing
    scored = matches.any(axis=1) & (totals > 0).all(axis=1)
    missing = np.maximum(0.0, reference / np.maximum(hypothesis, 1) - 1)
    return np.where(scored, 100 * np.exp(np.log(shares).mean(axis=1) - missing), 0.0)


def score_statistics(statistics: np.ndarray, tokenizer: str) -> TranslationScore:
    """The corpus-level scores of sentences' `translation_statistics`."""
    metrics = _metrics(tokenizer)
    sums = statistics.sum(axis=0)
    bleu = metrics.bleu._compute_score_from_stats(sums[:_BLEU_COLUMNS].tolist())
    figures = figures_of(sums[None], tokenizer)[0]
    signatures = [str(metric.get_signature()) for metric in vars(metrics).values()]
    return TranslationScore(
        bleu=bleu.score,
        chrf=float(figures[1]),
        chrf_plus=float(figures[2]),
        sentences=len(statistics),
        tokenizer=tokenizer,
        bleu_signature=signatures[0],
        chrf_signature=signatures[1],
        chrf_plus_signature=signatures[2],
        brevity_penalty=bleu.bp,
        hypothesis_length=int(bleu.sys_len),
        reference_length=int(bleu.ref_len),
    )


def score_translations(
    references: Sequence[str], hypotheses: Sequence[str], tokenizer: str = "13a"
) -> TranslationScore:
    """BLEU with ``tokenizer``, chrF and chrF++ of hypotheses with one reference each.

    Raises:
        ConfigError: the tokenizer's dictionary is not installed.
        ValueError: nothing to score, or the two lists differ in length.
    """
    return score_statistics(translation_statistics(references, hypotheses, tokenizer), tokenizer)
