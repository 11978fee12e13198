"""The error counts beside those of NIST's sclite, utterance by utterance.

jiwer finds the fewest errors: every substitution, deletion and insertion costs 1. sclite costs a
substitution 4 and the others 3 each. So where alignments are as short as each other, it prefers a
deletion and an insertion around a word that is correct to two substitutions, and in a text of
which little is right it may count more errors than the fewest, never less.
"""

import random
import re
import shutil
import subprocess

import numpy as np
import pytest

from espnet_part.bin.part_score import main
from espnet_part.score.error_rate import COLUMNS, error_statistics

SCLITE = ["sctk", "sclite"] if shutil.which("sctk") else ["sclite"]
pytestmark = pytest.mark.skipif(not shutil.which(SCLITE[0]), reason="sclite is not installed")

FOUND = re.compile(
    r"id: \((\w+)-([\w-]+)\)\nScores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)", re.MULTILINE
)
WORDS = {
    language: words.split()
    for language, words in {
        "de": "der die das und größe über straße schön nicht er sie es ging haus garten",
        "ru": "это что ёлка город большой и не на я он она мы вода хлеб",
        "zh": "你 好 世 界 今 天 气 很 我 们 去 公 园 学 校 书 看",
    }.items()
}


def run_sclite(directory):
    """Correct, substitutions, deletions and insertions by utterance."""
    files = [directory / f"{side}.trn" for side in ("ref", "hyp")]
    command = [*SCLITE, "-e", "utf-8", "-i", "rm"]
    command += ["-r", str(files[0]), "trn", "-h", str(files[1]), "trn", "-o", "pralign", "stdout"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: tuple(map(int, counts)) for _, name, *counts in FOUND.findall(output)}


def corrupt(words, vocabulary, rate, generator):
    heard = []
    for word in words:
        luck = generator.random() / rate
        if luck < 0.5:
            heard.append(generator.choice(vocabulary))
        elif luck < 0.75:
            continue
        elif luck < 1:
            heard += [word, generator.choice(vocabulary)]
        else:
            heard.append(word)
    return heard


def make_texts(language, count, rate, seed):
    """Sentences of 0 to 15 words, and what a recogniser with this error rate makes of them."""
    generator, vocabulary = random.Random(seed), WORDS[language]
    references = [
        [generator.choice(vocabulary) for _ in range(generator.randint(0, 15))]
        for _ in range(count)
    ]
    return references, [corrupt(words, vocabulary, rate, generator) for words in references]


def least_cost(reference, hypothesis):
    """The least 4 S + 3 D + 3 I of any alignment."""
    costs = [3 * i for i in range(len(hypothesis) + 1)]
    for row, expected in enumerate(reference, 1):
        above, costs = costs, [3 * row]
        for column, got in enumerate(hypothesis, 1):
            change = above[column - 1] + (0 if expected == got else 4)
            costs.append(min(change, above[column] + 3, costs[-1] + 3))
    return costs[-1]


@pytest.fixture
def scored(tmp_path):
    """Transcripts that part_score wrote for three languages, and its counts."""
    tables = {name: [] for name in ("text", "utt2task", "utt2lang", "hyp")}
    for language in WORDS:
        references, hypotheses = make_texts(language, 150, 0.2, language)
        for number, (expected, got) in enumerate(zip(references, hypotheses, strict=True)):
            utterance = f"{language}_{number:03}-asr"
            tables["text"].append(f"{utterance} {' '.join(expected)}\n")
            tables["hyp"].append(f"{utterance} {' '.join(got)}\n")
            tables["utt2task"].append(f"{utterance} asr\n")
            tables["utt2lang"].append(f"{utterance} {language}\n")
    for name, lines in tables.items():
        (tmp_path / name).write_text("".join(lines), encoding="utf-8")
    main(["--ref_dir", str(tmp_path), "--hyp_text", str(tmp_path / "hyp")])
    return tmp_path


@pytest.mark.parametrize("unit", ["word", "character"])
def test_same_errors_as_sclite(scored, unit):
    directory = scored / ("score_wer" if unit == "word" else "score_cer")
    theirs = run_sclite(directory)
    sides = [
        {
            match[2]: match[1]
            for match in re.finditer(r"^(.*)\t\(\w+-(.*)\)$", path.read_text("utf-8"), re.M)
        }
        for path in (directory / "ref.trn", directory / "hyp.trn")
    ]
    assert theirs.keys() == sides[0].keys() == sides[1].keys()
    ours = error_statistics(list(sides[0].values()), list(sides[1].values()))
    for row, name in zip(ours, sides[0], strict=True):
        count = dict(zip(COLUMNS, row.tolist(), strict=True))
        correct, substitutions, deletions, insertions = theirs[name]
        assert correct + substitutions + deletions == count["reference"]
        errors = count["substitutions"] + count["deletions"] + count["insertions"]
        assert substitutions + deletions + insertions == errors
        # as many errors, of other kinds only where sclite's costs prefer them
        reference, hypothesis = (side[name].split() for side in sides)
        cost = 4 * substitutions + 3 * (deletions + insertions)
        assert cost == least_cost(reference, hypothesis)
    same = [
        tuple(row[1:5].tolist()) == theirs[name] for row, name in zip(ours, sides[0], strict=True)
    ]
    assert np.mean(same) > 0.9


def test_sclite_may_count_more_errors_but_never_less(tmp_path):
    references, hypotheses = make_texts("de", 400, 0.9, 1)
    references.append(list("abcde"))
    hypotheses.append(list("dexyz"))
    for side, texts in (("ref", references), ("hyp", hypotheses)):
        lines = [f"{' '.join(words)}\t(x-{i:04})\n" for i, words in enumerate(texts)]
        (tmp_path / f"{side}.trn").write_text("".join(lines), encoding="utf-8")
    counts = run_sclite(tmp_path)
    theirs = np.array([counts[f"{i:04}"] for i in range(len(references))])
    ours = error_statistics([" ".join(x) for x in references], [" ".join(x) for x in hypotheses])
    more = theirs[:, 1:].sum(axis=1) - ours[:, 2:5].sum(axis=1)
    assert (more >= 0).all()
    assert ours[-1].tolist() == [5, 0, 5, 0, 0, 1]
    assert theirs[-1].tolist() == [2, 0, 3, 3]
