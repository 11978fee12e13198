"""BLEU and chrF of translations, by sacreBLEU, on raw cased and punctuated text."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from espnet_part.errors import ConfigError
from espnet_part.score.normalizers import base_language

_TOKENIZERS = {"zh": "zh", "yue": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}


@dataclass(frozen=True)
class TranslationScore:
    """Corpus-level BLEU and chrF (0 to 100) with the signatures that make them reproducible."""

    bleu: float
    chrf: float
    sentences: int
    tokenizer: str
    bleu_signature: str
    chrf_signature: str
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int


def tokenizer_for(language: str) -> str:
    """SacreBLEU's tokenizer of a target language; 13a unless it writes without spaces or is ko."""
    return _TOKENIZERS.get(base_language(language), "13a")


def score_translations(
    references: Sequence[str], hypotheses: Sequence[str], tokenizer: str = "13a"
) -> TranslationScore:
    """BLEU with ``tokenizer`` and chrF of hypotheses with one reference each.

    Raises:
        ConfigError: the tokenizer's dictionary is not installed.
        ValueError: nothing to score, or the two lists differ in length.
    """
    from sacrebleu.metrics import BLEU, CHRF

    if len(references) != len(hypotheses) or not references:
        raise ValueError(f"{len(references)} references, {len(hypotheses)} hypotheses")
    try:
        bleu = BLEU(tokenize=tokenizer)
    except (RuntimeError, ImportError) as error:
        extra = tokenizer.split("-")[0]
        raise ConfigError(
            f"BLEU's tokenizer {tokenizer} cannot start ({' '.join(str(error).split())}); "
            f'install it: pip install "sacrebleu[{extra}]"'
        ) from None
    chrf = CHRF()
    with warnings.catch_warnings():  # sacreBLEU logs on tokenized periods; not for users here
        warnings.simplefilter("ignore")
        result = bleu.corpus_score(list(hypotheses), [list(references)])
        characters = chrf.corpus_score(list(hypotheses), [list(references)])
    return TranslationScore(
        bleu=result.score,
        chrf=characters.score,
        sentences=len(references),
        tokenizer=tokenizer,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
        brevity_penalty=result.bp,
        hypothesis_length=result.sys_len,
        reference_length=result.ref_len,
    )
