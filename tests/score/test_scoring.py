"""A data directory's scores: grouping, averages, intervals, missing hypotheses."""

import json
import math
from pathlib import Path

import pytest

from espnet_part.data import parallel
from espnet_part.errors import DataError
from espnet_part.kaldi import read_table
from espnet_part.score import counting
from espnet_part.score.references import read_durations
from espnet_part.score.score_config import BootstrapConfig, ScoreConfig
from espnet_part.score.score_tables import error_table, score_sections, translation_table
from espnet_part.score.scoring import score_directory
from tests.score.conftest import EXAMPLES, HYPOTHESES


def test_groups_and_averages(data):
    scores = score_directory(data, HYPOTHESES)
    assert scores.error_rate("de") == pytest.approx(100 / 6)
    assert scores.error_rate("en") == 0
    assert scores.error_rate("zh") == pytest.approx(25)
    assert scores.error_rate("ko") == 0
    assert scores.average_error_rate().value == pytest.approx((100 / 6 + 25) / 4)
    pooled = {group.metric: group.counts for group in scores.pooled_errors}
    assert pooled["wer"].reference == 6 + 4
    assert pooled["cer"].reference == 4 + 5
    assert scores.bleu("de-en") == pytest.approx(100)
    assert 0 < scores.bleu("en-de") < 100
    assert scores.bleu("es-en", "t2tt") == pytest.approx(100)
    assert scores.average_translation(target="en").value == pytest.approx(100)
    out_of_en = scores.average_translation(source="en").value
    assert out_of_en == pytest.approx((scores.bleu("en-de") + 100) / 2)
    assert scores.average_translation(source="fr") is None
    sentences = {(g.task, g.score.tokenizer): g.score.sentences for g in scores.pooled_translations}
    assert sentences["s2tt", "13a"] == 2


def test_korean_is_also_given_by_words(data):
    groups = [g for g in score_directory(data, HYPOTHESES).errors if g.language == "ko"]
    assert [(g.metric, g.secondary, g.counts.rate) for g in groups] == [
        ("cer", False, 0.0),
        ("wer", True, 100.0),
    ]


def test_missing_hypotheses_count_as_empty_and_are_named(data):
    hypotheses = {key: value for key, value in HYPOTHESES.items() if key not in ("de2", "s1")}
    scores = score_directory(data, {**hypotheses, "stranger": "x"})
    assert scores.error_rate("de") == pytest.approx(50)
    assert scores.bleu("de-en") == 0
    assert scores.missing == ["de2", "s1"] and scores.unexpected == ["stranger"]
    text = score_sections([("x", scores.as_dict())])
    assert "2 of 9 utterances have NO HYPOTHESIS and count as empty: de2, s1" in text
    assert "1 hypotheses belong to no reference and are left out: stranger" in text


def test_dictionary_is_plain_json(data):
    content = score_directory(data, HYPOTHESES).as_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert set(content["wer"]) == {"de", "en", "ko", "zh"}
    assert set(content["cer"]) == {"ko", "zh"}
    assert set(content["bleu"]) == {"de-en", "en-de", "en-zh"}
    assert content["tasks"]["t2tt"]["bleu"] == {"es-en": pytest.approx(100)}
    assert content["average"]["asr"]["wer"] == pytest.approx((100 / 6 + 25) / 4)
    assert content["scorer"]["jiwer"]


def test_infinite_rate_is_null(data):
    (data / "text").write_text("en1 (laughs)\n", encoding="utf-8")
    scores = score_directory(data, {"en1": "something"})
    assert math.isinf(scores.error_rate("en"))
    assert scores.as_dict()["wer"] == {"en": None}
    assert "1 references are empty after normalisation" in scores.notes[0]
    assert score_sections([("x", scores.as_dict())])


def _one_language(directory: Path, language: str, texts: dict[str, str]) -> None:
    columns = {"text": "", "utt2task": "asr", "utt2lang": language}
    for name, value in columns.items():
        lines = (f"{utt} {value or text}\n" for utt, text in texts.items())
        (directory / name).write_text("".join(lines), encoding="utf-8")
    (directory / "utt2tgt").unlink(missing_ok=True)


def test_one_wrong_thai_character_is_one_error(data: Path) -> None:
    _one_language(data, "th", {"t1": "สวัสดีครับทุกคน"})
    config = ScoreConfig(normalizer="whisper_keep_marks")
    scores = score_directory(data, {"t1": "สวัสดีครับทุกคม"}, config)
    assert [(group.metric, group.counts.errors) for group in scores.errors] == [("cer", 1)]
    assert scores.error_rate("th") == pytest.approx(100 / 15)
    assert scores.notes == []
    default = score_directory(data, {"t1": "สวัสดีครับทุกคม"})
    assert default.error_rate("th") < 10
    assert (
        "th: whisper-basic turns 4 combining marks of the references into spaces (26.7 %"
        in (default.notes[0])
    )


def test_words_heard_in_silence_are_insertions(data: Path) -> None:
    _one_language(data, "de", {"d1": "ein zwei drei", "d2": "", "d3": ""})
    scores = score_directory(data, {"d1": "ein zwei drei", "d2": "vielen dank", "d3": ""})
    (group,) = scores.errors
    assert (group.counts.reference, group.counts.insertions, group.counts.sentences) == (3, 2, 3)
    assert scores.error_rate("de") == pytest.approx(200 / 3)
    assert "de: 2 references are empty after normalisation; the 2 words" in scores.notes[0]
    assert scores.missing == []


def test_combining_marks_get_a_note(data):
    (data / "text").write_text("hi1 हिन्दी भाषा\n", encoding="utf-8")
    for name, value in (("utt2task", "asr"), ("utt2lang", "hi"), ("utt2tgt", "hi")):
        (data / name).write_text(f"hi1 {value}\n")
    scores = score_directory(data, {"hi1": "हिन्दी भाषा"})
    assert scores.notes[0].startswith("hi: whisper-basic turns 5 combining marks")


def test_tables_have_espnets_columns(data):
    content = score_directory(data, HYPOTHESES).as_dict()
    lines = str(error_table([("decode/test", content)], "wer")).splitlines()
    assert lines[0] == "|dataset|lang|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|Err 95 %|missing|"
    assert lines[2] == "|decode/test|de|2|6|83.3|16.7|0.0|0.0|16.7|50.0|0.0–33.3|0|"
    assert lines[-1].startswith("|decode/test|pooled|3|10|90.0|")
    assert "|decode/test|ko (also)|" in "\n".join(lines)
    lines = str(translation_table([("decode/test", content)])).splitlines()
    assert lines[2] == (
        "|decode/test|de-en|1|100.0|100.0–100.0|100.0|100.0|100.0–100.0|1.000|13a|0|"
    )
    assert "|decode/test|average into en||100.0|100.0–100.0|||||||" in lines


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text", "", "empty, nothing to score"),
        ("text", "de1 a\nde1 b\n", "text:2: the id de1 is given twice"),
        ("utt2task", "de1 asr\n", "no value for 8 utterances of `text`: de2, en1"),
        ("utt2lang", None, "utt2lang: missing file"),
        (
            "utt2tgt",
            "".join(f"{key} en\n" for key in EXAMPLES),
            "de1: asr writes the language that it reads: de to en",
        ),
        ("utt2tgt", b"\xff\xfe", "not UTF-8 at byte 1"),
    ],
)
def test_bad_directories(data, name, content, message):
    if content is None:
        (data / name).unlink()
    else:
        (data / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        score_directory(data, HYPOTHESES)


def test_asr_needs_no_target_language(data):
    before = score_directory(data, HYPOTHESES)
    lines = (data / "utt2tgt").read_text().splitlines(keepends=True)
    (data / "utt2tgt").write_text("".join(line for line in lines if line[0] in "st"))
    assert score_directory(data, HYPOTHESES).as_dict() == before.as_dict()
    (data / "utt2tgt").write_text("")
    with pytest.raises(DataError, match="no value for 4 utterances"):
        score_directory(data, HYPOTHESES)


def test_only_a_line_feed_ends_a_line(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("a x\u2028y\x85z\r\nb\nc\tw v\n".encode())
    assert read_table(path) == {"a": "x\u2028y\x85z", "b": "", "c": "w v"}


def test_a_baseline_is_scored_on_its_own_tasks(data):
    """Else an ASR baseline would get BLEU 0 in every direction."""
    asr = {key: text for key, text in HYPOTHESES.items() if EXAMPLES[key][0] == "asr"}
    scores = score_directory(data, asr, tasks=["asr"])
    assert scores.missing == []
    assert scores.translations == []
    with pytest.raises(DataError, match="no utterance of st; it has asr, s2tt, t2tt"):
        score_directory(data, asr, tasks=["asr", "st"])


def test_figures_depend_on_neither_order_nor_processes(data, monkeypatch):
    before = score_directory(data, HYPOTHESES).as_dict()
    for name in ("text", "utt2task", "utt2lang", "utt2tgt"):
        lines = (data / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (data / name).write_text("".join(reversed(lines)), encoding="utf-8")
    turned = dict(reversed(HYPOTHESES.items()))
    assert score_directory(data, turned).as_dict() == before
    monkeypatch.setattr(counting, "_JOB_SIZE", 1)
    monkeypatch.setattr(counting, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(parallel, "_CHUNK", 1)
    assert score_directory(data, turned, nj=2).as_dict() == before


def test_every_figure_has_an_interval_that_holds_it(data):
    content = score_directory(data, HYPOTHESES).as_dict()
    for name, other in (("tasks", "intervals"), ("average", "average_intervals")):
        figures, intervals = _leaves(content[name]), _leaves(content[other])
        assert figures.keys() == intervals.keys() and figures
        for key, value in figures.items():
            assert intervals[key]["low"] - 1e-9 <= value <= intervals[key]["high"] + 1e-9, key
    for group in content["errors"] + content["pooled_errors"]:
        assert group["interval"]["low"] <= group["rate"] <= group["interval"]["high"]
    for group in content["translations"] + content["pooled_translations"]:
        assert {"interval", "chrf_interval", "chrf++_interval"} <= group.keys()


def test_no_samples_give_no_intervals(data):
    config = ScoreConfig(bootstrap=BootstrapConfig(samples=0))
    content = score_directory(data, HYPOTHESES, config).as_dict()
    assert set(_leaves(content["intervals"]).values()) == {None}
    assert content["wer"] == score_directory(data, HYPOTHESES).as_dict()["wer"]
    assert "|x|de|2|6|83.3|16.7|0.0|0.0|16.7|50.0|-|0|" in score_sections([("x", content)])


def test_configuration_decides_units_and_normaliser(data):
    config = ScoreConfig(cer_languages=("de",), normalizer="none")
    scores = score_directory(data, HYPOTHESES, config, ["asr"])
    units = {(group.language, group.metric) for group in scores.errors}
    assert units == {("de", "cer"), ("de", "wer"), ("en", "wer"), ("ko", "wer"), ("zh", "cer")}
    config = ScoreConfig(wer_languages=("zh", "ko"), normalizer="none")
    scores = score_directory(data, HYPOTHESES, config, ["asr"])
    assert {group.metric for group in scores.errors} == {"wer"}
    assert scores.error_rate("ko") == 100
    assert {group.normalizer for group in scores.errors} == {"none"}


def test_chinese_script_is_named_in_the_table(data):
    pytest.importorskip("opencc")
    hypotheses = {**HYPOTHESES, "zh1": "你好世屆"}
    config = ScoreConfig(chinese_script="simplified")
    text = score_sections([("x", score_directory(data, hypotheses, config).as_dict())])
    assert "normaliser opencc-t2s+whisper-basic: zh" in text
    assert "converted to simplified characters on both sides" in text
    assert score_directory(data, hypotheses, config).error_rate("zh") == 25


def test_hallucinations_are_counted_and_named(data):
    hypotheses = {**HYPOTHESES, "de1": "das ist das ist das ist das ist gut", "zh1": "谢" * 30}
    durations = {"zh1": 1.0, "de1": 60.0}
    scores = score_directory(data, hypotheses, durations=durations)
    assert scores.flagged == {
        "de1": ["repeated"],
        "zh1": ["repeated", "longer_than_speech", "longer_than_reference"],
    }
    content = scores.as_dict()["hallucinations"]
    groups = {(group["task"], group["key"]): group for group in content["groups"]}
    assert groups["asr", "de"]["flagged"] == 1
    assert groups["asr", "de"]["longer_than_speech"] == 0
    assert groups["asr", "en"]["longer_than_speech"] is None
    text = score_sections([("x", scores.as_dict())])
    assert "|x|de|2|1 (50.0 %)|1|0|0|" in text
    assert "|x|en|1|" not in text.split("Signs of hallucination")[1]


def test_lengths_that_are_no_numbers(data, tmp_path):
    (data / "utt2num_samples").write_text("de1 2.5\n")
    with pytest.raises(DataError, match="de1: not a number"):
        read_durations(data / "utt2num_samples", 16000)


def _leaves(tree, path=()):
    """Figures and intervals of nested dictionaries by their path."""
    if not isinstance(tree, dict) or "low" in tree:
        return {path: tree}
    return {k: v for name, below in tree.items() for k, v in _leaves(below, (*path, name)).items()}
