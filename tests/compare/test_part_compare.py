"""The command: several layouts, one scorer, what is missing where, tests, chart."""

import json
import shutil
import subprocess
from random import Random

import pytest

from espnet_part.bin.part_compare import main
from espnet_part.score.score_config import ScoreConfig
from espnet_part.score.scoring import score_directory
from tests.compare.layouts import write_asr1, write_references, write_st1, write_table

PNG = b"\x89PNG\r\n\x1a\n"
ROWS = [
    *((f"de{n}-asr-de", "asr", "de", "de", f"das ist der Satz {n}") for n in range(4)),
    *((f"fr{n}-asr-fr", "asr", "fr", "fr", f"voici la phrase {n}") for n in range(4)),
    *((f"de{n}-s2tt-en", "s2tt", "de", "en", f"this is the sentence number {n}") for n in range(4)),
]
TEXTS = {row[0]: row[4] for row in ROWS}


def _tasks(task):
    return {row[0]: row[4] for row in ROWS if row[1] == task}


@pytest.fixture
def data(tmp_path):
    """References, a decoding of ours, and outputs of others."""
    write_references(tmp_path / "data/test", ROWS)
    write_table(tmp_path / "part/decode/test/text", TEXTS | {"de0-asr-de": "das ist ein Satz 0"})
    return tmp_path


def _run(data, *arguments):
    main([*arguments, "--out", str(data / "out")])
    content = json.loads((data / "out/compare.json").read_text(encoding="utf-8"))
    return content, (data / "out/compare.md").read_text(encoding="utf-8")


def _ref(data):
    return ("--ref_dir", str(data / "data/test"))


def test_every_layout_is_scored_as_part_score_does(data, capsys):
    recognised = {k: text.replace("Satz", "Platz") for k, text in _tasks("asr").items()}
    bare = {key.removesuffix("-asr-de").removesuffix("-asr-fr"): t for key, t in recognised.items()}
    utt2spk = {key: key[:3] for key in sorted(bare)}
    write_asr1(data / "asr/decode/test", bare, bare, utt2spk)
    special = {key: f"<deu><asr><notimestamps> {text}" for key, text in bare.items()}
    write_asr1(data / "owsm/decode/test", bare, special, utt2spk)
    rows = [{"file": f"clips/{key}.wav", "prediction": text} for key, text in bare.items()]
    (data / "hf.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_table(data / "plain.txt", bare)
    content, text = _run(
        data,
        f"PART={data}/part/decode",
        f"asr1={data}/asr/decode",
        f"s2t1={data}/owsm/decode",
        f"HF={data}/hf.jsonl",
        f"plain={data}/plain.txt",
        *_ref(data),
        "--strip_suffix=-asr-[a-z]+",
    )
    expected = score_directory(data / "data/test", recognised, tasks=["asr"]).as_dict()
    for name in ("asr1", "s2t1", "HF", "plain"):
        system = content["systems"][name]
        assert system["score"]["wer"] == expected["wer"] == {"de": 20.0, "fr": 0.0}
        assert system["score"]["intervals"] == expected["intervals"]
        assert system["missing"] == [] and system["tasks"] == ["asr"]
        assert system["matched"] == {"--strip_suffix=-asr-[a-z]+": 8}
        assert "no hypothesis at all for s2tt: not scored on it" in system["notes"]
    assert content["systems"]["PART"]["matched"] == {"exact": 12}
    assert content["systems"]["PART"]["score"]["bleu"] == {"de-en": pytest.approx(100)}
    assert "special tokens removed from 8 hypotheses: `<deu><asr><notimestamps>`" in text
    assert "|asr1|20.0 [20.0, 20.0]|0.0 [0.0, 0.0]|10.0 [10.0, 10.0]|" in text
    assert (data / "out/compare.png").read_bytes().startswith(PNG)
    assert "![by language and system](compare.png)" in text
    output = capsys.readouterr()
    assert "## Error rates (%)" in output.out and "WARNING" not in output.err


def test_paired_tests_by_language_and_overall(data):
    write_table(data / "other.txt", TEXTS | {"de1-asr-de": "das ist der", "de0-s2tt-en": "no"})
    content, text = _run(data, f"A={data}/part/decode", f"B={data}/other.txt", *_ref(data))
    found = {(t["task"], t["key"], t["metric"]): t for t in content["paired"]}
    assert content["baseline"] == "A" and {t["system"] for t in content["paired"]} == {"B"}
    assert found["asr", "de", "wer"]["difference"] == pytest.approx(5.0)
    assert found["asr", "fr", "wer"]["difference"] == 0
    assert found["asr", "average", "wer"]["difference"] == pytest.approx(2.5)
    assert found["s2tt", "de-en", "bleu"]["difference"] < 0
    assert "### asr: difference from A" in text and "|de|+5.0 [" in text
    content, text = _run(
        data, f"A={data}/part/decode", f"B={data}/other.txt", *_ref(data), "--paired", "false"
    )
    assert content["paired"] == [] and "## Paired tests" not in text


def test_what_is_missing_is_said_where(data, capsys):
    fewer = {k: t for k, t in TEXTS.items() if k not in ("de1-asr-de", "de2-asr-de")}
    write_table(data / "fewer.txt", fewer | {"stranger": "x"})
    content, text = _run(data, f"A={data}/part/decode", f"B={data}/fewer.txt", *_ref(data))
    system = content["systems"]["B"]
    assert system["missing"] == ["de1-asr-de", "de2-asr-de"]
    assert system["unexpected"] == ["stranger"]
    assert system["missing_by_group"] == {"asr de": 2, "asr fr": 0, "s2tt de-en": 0}
    assert system["score"]["wer"]["de"] == pytest.approx(50.0)
    assert "|asr de|4|0|2|" in text and "|asr fr|4|" not in text
    errors = capsys.readouterr().err
    assert "WARNING: B: 2 of 12 utterances have no hypothesis" in errors
    assert "WARNING: B: 1 hypotheses belong to no reference" in errors


def test_a_language_without_any_hypothesis_is_loud_and_can_be_left_out(data):
    write_table(data / "german.txt", {k: t for k, t in TEXTS.items() if k.startswith("de")})
    arguments = (f"A={data}/part/decode", f"B={data}/german.txt", *_ref(data))
    content, text = _run(data, *arguments)
    assert content["systems"]["B"]["score"]["wer"]["fr"] == 100
    assert "NO HYPOTHESIS AT ALL for asr fr" in text
    content, text = _run(data, *arguments, "--langs", "de", "--tasks", "asr")
    for name, wer in (("A", 5.0), ("B", 0.0)):
        assert content["systems"][name]["score"]["wer"] == {"de": wer}
        assert content["systems"][name]["unexpected"] == []
    assert "A: 8 hypotheses left out by --tasks or --langs" in text


def test_references_of_an_asr1_directory(data, capsys):
    references = {"u1": "guten tag", "u2": "auf wieder sehen"}
    utt2spk = {"u1": "s", "u2": "s"}
    write_asr1(data / "a/d/t", references, references | {"u2": "auf sehen"}, utt2spk)
    write_asr1(data / "b/d/t", references | {"u1": "gute tage"}, references, utt2spk)
    arguments = (f"A={data}/a/d", f"B={data}/b/d")
    content, text = _run(data, *arguments, "--task", "asr", "--lang", "de")
    assert content["systems"]["A"]["score"]["wer"] == {"de": pytest.approx(20.0)}
    assert content["systems"]["B"]["score"]["wer"] == {"de": 0.0}
    assert "The references are those that A brings along" in text
    assert "1 of 2 references differ between A and B" in text
    for more, message in (((), "give --task and --lang"), (("--task", "asr"), "give --task")):
        with pytest.raises(SystemExit):
            main([*arguments, *more])
        assert message in capsys.readouterr().err


def test_tasks_of_a_directory_are_not_said_twice(data, capsys):
    for option in ("--task", "--lang", "--tgt_lang"):
        with pytest.raises(SystemExit):
            main(["x.txt", "--ref_dir", str(data), option, "de"])
        assert f"{option}: --ref_dir says it of each" in capsys.readouterr().err


def test_references_of_st1_and_of_json(data):
    def detokenize(line):
        return line.replace(" .", ".")

    references = {f"u{n}": f"this is sentence number {n} ." for n in range(4)}
    write_st1(data / "st/d/t", references, references, dict.fromkeys(references, "s"), detokenize)
    rows = [{"id": key, "prediction": text} for key, text in references.items()]
    (data / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = ("--task", "s2tt", "--lang", "de", "--tgt_lang", "en")
    content, _ = _run(data, f"A={data}/st/d", f"B={data}/x.jsonl", *task)
    assert content["systems"]["A"]["source"] == "score_bleu/hyp.trn.detok"
    assert content["systems"]["A"]["score"]["bleu"] == {"de-en": pytest.approx(100)}
    rows = [{"id": k, "pred_text": "this is it", "text": t} for k, t in references.items()]
    (data / "y.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content, _ = _run(data, f"Y={data}/y.jsonl", *task)
    assert content["systems"]["Y"]["score"]["bleu"]["de-en"] < 50


@pytest.mark.skipif(shutil.which("sctk") is None, reason="no sclite (Debian's sctk)")
def test_counts_are_those_of_espnets_own_scoring(data):
    """Without a normaliser, the error rate is that of `sclite` in asr.sh."""
    random = Random(0)
    words = ["eins", "zwei", "drei", "vier", "fünf", "sechs"]
    references = {f"u{n:02}": " ".join(random.choices(words, k=7)) for n in range(30)}
    hypotheses = {
        key: " ".join(random.choice([w, w, w, f"{w} {w}", "", "acht"]) for w in text.split())
        for key, text in references.items()
    }
    directory = data / "asr/decode/test"
    write_asr1(directory, references, hypotheses, dict.fromkeys(references, "s"), cleaner=str)
    sclite = ["sctk", "sclite", "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm"]
    done = subprocess.run(
        [*sclite, "-e", "utf-8", "-o", "sum", "stdout"],
        cwd=directory / "score_wer",
        check=True,
        capture_output=True,
        text=True,
    )
    (total,) = (line for line in done.stdout.splitlines() if "Sum/Avg" in line)
    error = float(total.replace("|", " ").split()[7])
    (data / "score.yaml").write_text("normalizer: none\n")
    config = ("--score_config", str(data / "score.yaml"))
    content, _ = _run(data, f"A={directory}", "--task", "asr", "--lang", "de", *config)
    rate = content["systems"]["A"]["score"]["wer"]["de"]
    assert rate > 20 and round(rate, 1) == error


@pytest.mark.parametrize("absolute", [True, False])
def test_the_references_that_part_score_recorded(data, monkeypatch, absolute):
    directory = data / "part/decode/test"
    recorded = str(data / "data/test") if absolute else "data/test"
    (directory / "score.json").write_text(json.dumps({"ref_dir": recorded}))
    other = [(f"{key}-other", *more) for key, *more in ROWS]
    write_references(data / "elsewhere/data/test", other)
    monkeypatch.chdir(data / "elsewhere")  # another recipe with a test set of this name
    content, _ = _run(data, f"A={directory}")
    assert content["references"] == str(data / "data/test")


def test_it_is_said_where_part_score_counted_otherwise(data):
    score = score_directory(data / "data/test", TEXTS, ScoreConfig(normalizer="none")).as_dict()
    (data / "part/decode/test/score.json").write_text(json.dumps(score))
    _, text = _run(data, f"A={data}/part/decode", *_ref(data))
    assert "- A: figures differ from those of its score.json, which was made with" in text
    assert "made with normalizer none; --score_config" in text
    (data / "score.yaml").write_text("normalizer: none\n")
    config = ("--score_config", str(data / "score.yaml"))
    _, text = _run(data, f"A={data}/part/decode", *_ref(data), *config)
    assert "figures differ" not in text
    (data / "score.yaml").write_text("normalizer: none\ncer_languages: [de]\n")
    _, text = _run(data, f"A={data}/part/decode", *_ref(data), *config)
    assert "made with wer for de; --score_config" in text


def test_published_rows_are_marked_and_have_no_interval(data):
    content, text = _run(data, f"A={data}/part/decode", *_ref(data), "--published", "commonvoice15")
    assert "|MinMo (published, not rescored)|-|8.5|-|" in text
    assert "- MinMo: MinMo (arXiv 2501.06282); as collected, not checked" in text
    assert "PART-2B (published" not in text, "its average is over other languages"
    assert content["published"][0]["label"] == "published, not rescored"
    assert "MinMo" not in content["systems"]


def test_rows_of_two_benchmarks_are_told_apart(data):
    both = ("--published", "commonvoice15", "--published", "fleurs")
    _, text = _run(data, f"A={data}/part/decode", *_ref(data), *both)
    assert "|MinMo, Common Voice 15, test (published, not rescored)|-|8.5|-|" in text
    assert "|Qwen3-ASR-1.7B, FLEURS, test (published, not rescored)|3.9|4.8|-|" in text


def test_settings_of_scoring(data):
    (data / "score.yaml").write_text("normalizer: none\nbootstrap: {samples: 0}\n")
    write_table(data / "b.txt", {k: t.lower() for k, t in TEXTS.items()})
    content, text = _run(
        data,
        f"A={data}/part/decode",
        f"B={data}/b.txt",
        *_ref(data),
        "--score_config",
        str(data / "score.yaml"),
    )
    assert content["systems"]["B"]["score"]["wer"]["de"] == pytest.approx(20.0)
    assert (
        content["paired"] == []
        and "No paired tests" in text
        and "Text normaliser of all systems: none" in text
    )
    assert "|B|20.0|0.0|10.0|" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["A={data}/plain.txt", "A={data}/plain.txt"], "two systems are called A"),
        (["{data}/absent"], "no such file or directory"),
        (["{data}/plain.txt", "--published", "fleur"], "did you mean `fleurs`"),
        (["{data}/other.txt"], "--strip_suffix='-asr-de' would make"),
        (["{data}/plain.txt", "--langs", "de, ja"], "no utterance in ja; it has de, fr"),
        (["{data}/plain.txt", "--tasks", "asr st"], "no utterance of st; it has asr, s2tt"),
    ],
)
def test_errors_are_one_line(data, capsys, arguments, message):
    write_table(data / "plain.txt", TEXTS)
    write_table(data / "other.txt", {"de0": "x"})
    with pytest.raises(SystemExit) as stopped:
        main([argument.format(data=data) for argument in arguments] + list(_ref(data)))
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("part_compare: error: ") and message in error
    assert error.count("\n") == 1
