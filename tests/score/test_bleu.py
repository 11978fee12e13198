"""BLEU and chrF equal sacreBLEU's own; tokenizers by target language."""

import pytest
import sacrebleu

from espnet_part.errors import ConfigError
from espnet_part.score import bleu
from espnet_part.score.bleu import score_translations, tokenizer_for

REFERENCES = ["The house is small, isn't it?", "We saw two dogs in the garden."]
HYPOTHESES = ["The house is little, isn't it?", "we saw two dogs in a garden."]


def test_equals_sacrebleu():
    score = score_translations(REFERENCES, HYPOTHESES)
    assert score.bleu == sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score
    assert score.chrf == sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score
    assert score.bleu_signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert score.chrf_signature.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


def test_case_and_punctuation_count():
    assert score_translations(["A b c d e."], ["A b c d e."]).bleu == pytest.approx(100)
    assert score_translations(["A b c d e."], ["a b c d e"]).bleu < 60


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [
        ("en", "13a"),
        ("de", "13a"),
        ("zh", "zh"),
        ("zh-CN", "zh"),
        ("yue", "zh"),
        ("ja", "ja-mecab"),
        ("ko", "ko-mecab"),
    ],
)
def test_tokenizers(language, tokenizer):
    assert tokenizer_for(language) == tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "text"),
    [
        ("zh", "今天天气很好，我们去公园。"),
        ("ja-mecab", "今日は学校へ行きます。"),
        ("ko-mecab", "안녕하세요 여러분 반갑습니다."),
    ],
)
def test_asian_tokenizers_cut_words(tokenizer, text):
    score = score_translations([text], [text], tokenizer)
    assert score.bleu == pytest.approx(100)
    assert score.reference_length > 4
    assert f"tok:{tokenizer}" in score.bleu_signature


def test_empty_hypotheses_score_zero():
    assert score_translations(REFERENCES, ["", ""]).bleu == 0


def test_missing_dictionary_says_what_to_install(monkeypatch):
    import sacrebleu.metrics

    def fail(**_):
        raise RuntimeError("Japanese tokenization requires extra dependencies")

    bleu._metrics.cache_clear()
    monkeypatch.setattr(sacrebleu.metrics, "BLEU", fail)
    with pytest.raises(ConfigError, match=r'pip install "sacrebleu\[ja\]"'):
        score_translations(["a"], ["a"], "ja-mecab")
