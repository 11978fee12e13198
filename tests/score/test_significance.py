"""Paired tests: equal to sacreBLEU's own, symmetric, and right about chance."""

import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from espnet_part.errors import ConfigError
from espnet_part.score import significance
from espnet_part.score.bootstrap import resample_sums, two_sided_p_value
from espnet_part.score.error_rate import error_rates, error_statistics
from espnet_part.score.score_config import BootstrapConfig, ScoreConfig
from espnet_part.score.scoring import score_directory
from espnet_part.score.significance import compare_systems

TEXT = "the cat dog house we saw in garden small big green runs to a tree and then home"
WORDS = TEXT.split()
CONFIG = ScoreConfig(bootstrap=BootstrapConfig(samples=200))


def _sentences(count, seed):
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(4, 12))) for _ in range(count)]


def _worse(sentences, share, seed):
    """The same with words replaced."""
    generator = random.Random(seed)
    return [
        " ".join(generator.choice(WORDS) if generator.random() < share else word for word in words)
        for words in map(str.split, sentences)
    ]


@pytest.fixture
def data(tmp_path):
    """Recognition of en and de, translation de-en and fr-en; 30 utterances each."""
    tables = {name: [] for name in ("text", "utt2task", "utt2lang", "utt2tgt")}
    for task, source, target in (
        ("asr", "de", "de"),
        ("asr", "en", "en"),
        ("s2tt", "de", "en"),
        ("s2tt", "fr", "en"),
    ):
        for number, sentence in enumerate(_sentences(30, source)):
            utterance = f"{task}_{source}_{number:02}"
            for name, value in zip(tables, (sentence, task, source, target), strict=True):
                tables[name].append(f"{utterance} {value}\n")
    for name, lines in tables.items():
        (tmp_path / name).write_text("".join(lines))
    return tmp_path


@pytest.fixture
def systems(data):
    pairs = [line.split(" ", 1) for line in (data / "text").read_text().splitlines()]
    names, texts = zip(*pairs, strict=True)
    return {
        "good": dict(zip(names, _worse(texts, 0.1, 1), strict=True)),
        "alike": dict(zip(names, _worse(texts, 0.1, 2), strict=True)),
        "bad": dict(zip(names, _worse(texts, 0.5, 3), strict=True)),
    }


def _by_key(results, system):
    return {(r.task, r.key, r.metric): r for r in results if r.system == system}


def test_every_language_direction_and_the_whole(data, systems):
    results = compare_systems(data, systems, "good", CONFIG)
    found = _by_key(results, "bad")
    asr = {("asr", key, "wer") for key in ("de", "en", "pooled", "average")}
    s2tt = {
        ("s2tt", key, metric)
        for key in ("de-en", "fr-en", "average")
        for metric in ("bleu", "chrf++")
    }
    assert found.keys() == asr | s2tt == _by_key(results, "alike").keys()
    good, bad = (score_directory(data, systems[name], CONFIG) for name in ("good", "bad"))
    of = found["asr", "de", "wer"]
    assert of.difference == pytest.approx(bad.error_rate("de") - good.error_rate("de"))
    of = found["s2tt", "average", "bleu"]
    expected = bad.average_translation().value - good.average_translation().value
    assert of.difference == pytest.approx(expected)
    for result in found.values():
        assert result.low < result.difference < result.high
        assert 0 not in (result.low, result.high) and result.low * result.high > 0
        assert result.p_value == pytest.approx(1 / 201)
        assert result.samples == 200 and result.baseline == "good"


def test_a_system_against_itself_and_turned_round(data, systems):
    same = compare_systems(data, {"a": systems["good"], "b": systems["good"]}, "a", CONFIG)
    for result in same:
        assert (result.difference, result.low, result.high) == (0, 0, 0)
        assert result.p_value == result.p_two_sided == 1
    pair = {name: systems[name] for name in ("good", "alike")}
    there = _by_key(compare_systems(data, pair, "good", CONFIG), "alike")
    back = _by_key(compare_systems(data, pair, "alike", CONFIG), "good")
    for key, result in there.items():
        assert back[key].difference == pytest.approx(-result.difference)
        assert back[key].low == pytest.approx(-result.high)
        assert back[key].p_value == result.p_value


def test_error_rates_equal_a_plain_paired_bootstrap(data, systems):
    result = _by_key(compare_systems(data, systems, "good", CONFIG, ["asr"]), "alike")
    result = result["asr", "en", "wer"]
    names = sorted(name for name in systems["good"] if name.startswith("asr_en"))
    texts = dict(line.split(" ", 1) for line in (data / "text").read_text().splitlines())
    references = [texts[name] for name in names]
    counts = [
        error_statistics(references, [systems[s][n] for n in names]) for s in ("good", "alike")
    ]
    drawn = resample_sums(np.eye(30), CONFIG.bootstrap, "asr en en").astype(int)
    differences = []
    for times in drawn:
        chosen = np.repeat(np.arange(30), times)
        one, two = (error_rates(part[chosen].sum(axis=0)[None])[0] for part in counts)
        differences.append(two - one)
    assert result.p_value == two_sided_p_value(np.array(differences), result.difference)
    assert (result.low, result.high) == pytest.approx(
        tuple(np.quantile(differences, [0.025, 0.975]))
    )


@pytest.mark.parametrize("system", ["alike", "bad"])
def test_equals_sacrebleus_paired_test(data, systems, system, monkeypatch):
    monkeypatch.setattr(significance, "_DRAWS", 100)  # a few samples at once
    results = _by_key(compare_systems(data, systems, "good", CONFIG, ["s2tt"]), system)
    texts = dict(line.split(" ", 1) for line in (data / "text").read_text().splitlines())
    for direction in ("de-en", "fr-en"):
        names = sorted(n for n in texts if n.startswith(f"s2tt_{direction[:2]}"))
        _, scores = PairedTest(
            [(name, [systems[name][n] for n in names]) for name in ("good", system)],
            {"BLEU": BLEU(), "chrF": CHRF(word_order=2)},
            [[texts[n] for n in names]],
            test_type="bs",
            n_samples=200,
        )()
        for metric, name in (("bleu", "BLEU"), ("chrf++", "chrF2++")):
            one, two = scores[name]
            result = results["s2tt", direction, metric]
            assert result.p_value == two.p_value
            assert result.test == significance.SACREBLEU
            assert result.difference == pytest.approx(two.score - one.score)


def test_false_alarms_are_as_rare_as_promised():
    """Two systems of one quality: the two-sided test finds a difference in 5 % of test sets."""
    generator = np.random.default_rng(1)
    config = BootstrapConfig(samples=200)
    tests, alarms = 300, 0
    for number in range(tests):
        words = generator.integers(5, 20, size=200)
        skill = generator.beta(2, 18, size=200)  # what is hard for one is hard for the other
        counts = np.zeros((200, 12), dtype=int)
        counts[:, [0, 6]] = words[:, None]
        counts[:, 2], counts[:, 8] = (generator.binomial(words, skill) for _ in range(2))
        sums = np.vstack([counts.sum(axis=0), resample_sums(counts, config, str(number))])
        one, two = (error_rates(part) for part in np.hsplit(sums, 2))
        alarms += two_sided_p_value((two - one)[1:], (two - one)[0]) < 0.05
    assert alarms / tests == pytest.approx(0.05, abs=0.035)


def test_impossible_comparisons(data, systems):
    with pytest.raises(ConfigError, match="the baseline x is none of good, alike, bad"):
        compare_systems(data, systems, "x", CONFIG)
    with pytest.raises(ConfigError, match="`bootstrap: samples` above 0"):
        compare_systems(data, systems, "good", ScoreConfig(bootstrap=BootstrapConfig(samples=0)))


@pytest.mark.parametrize(("utterances", "least"), [(1, 1.0), (3, 0.25), (8, 1 / 128)])
def test_few_utterances_prove_little(tmp_path, utterances, least):
    """Where all utterances differ alike, no sample differs from another."""
    names = [f"u{n}" for n in range(utterances)]
    texts = dict.fromkeys(names, "one two three four")
    for task, source in (("asr", "en"), ("s2tt", "de")):
        values = {"text": "one two three four", "utt2task": task, "utt2lang": source}
        for name, value in {**values, "utt2tgt": "en"}.items():
            (tmp_path / name).write_text("".join(f"{utt} {value}\n" for utt in names))
        worse = dict.fromkeys(names, "one two three five")
        for result in compare_systems(tmp_path, {"a": texts, "b": worse}, "a", CONFIG):
            assert result.p_two_sided == pytest.approx(least)
            assert least <= result.p_value <= 1


def test_undefined_rates_have_no_interval(tmp_path):
    for name, value in (("text", "..."), ("utt2task", "asr"), ("utt2lang", "de")):
        (tmp_path / name).write_text(f"a {value}\n")
    (result,) = compare_systems(tmp_path, {"x": {"a": "y"}, "z": {"a": "y"}}, "x", CONFIG)
    assert np.isnan([result.low, result.high, result.p_value]).all()
