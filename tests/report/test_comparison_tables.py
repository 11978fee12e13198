"""Tables that lay systems side by side."""

import pytest

from espnet_part.compare.published import PublishedRow
from espnet_part.document import to_markdown
from espnet_part.report.comparison_tables import (
    Measure,
    comparison_table,
    find_measures,
    paired_explanation,
    paired_tables,
    seeds_table,
    shown,
)
from espnet_part.score.significance import SACREBLEU, PairedResult


def _score(wer=None, bleu=None):
    tasks = {}
    average = {}
    if wer:
        tasks["asr"] = {"wer": wer, "cer": {k: v for k, v in wer.items() if k == "zh"}}
        average["asr"] = {"wer": sum(wer.values()) / len(wer)}
    if bleu:
        tasks["s2tt"] = {"bleu": bleu}
        into = [v for k, v in bleu.items() if k.endswith("-en")]
        out = [v for k, v in bleu.items() if k.startswith("en-")]
        average["s2tt"] = {"bleu": sum(bleu.values()) / len(bleu)}
        for name, values in (("bleu_into_en", into), ("bleu_out_of_en", out)):
            if values:
                average["s2tt"][name] = sum(values) / len(values)
    return {"tasks": tasks, "average": average}


def test_measures_come_in_the_usual_order():
    rows = [("a", _score(bleu={"de-en": 1.0})), ("b", _score(wer={"de": 1.0}))]
    rows[0][1]["tasks"]["t2tt"] = {"bleu": {"de-en": 2.0}}
    assert [m.title for m in find_measures(rows)] == ["Error rates (%)", "BLEU", "BLEU (t2tt)"]


def test_a_row_that_lacks_a_language_has_no_average():
    rows = [("a", _score(wer={"de": 10.0, "zh": 20.0})), ("b", _score(wer={"de": 10.0}))]
    assert str(comparison_table(rows, Measure("asr", "wer"))).splitlines() == [
        "|system|de|zh CER|average|",
        "|---|---|---|---|",
        "|a|10.0|20.0|15.0|",
        "|b|10.0|-|-|",
    ]


@pytest.mark.parametrize(
    ("directions", "heads"),
    [
        (["de-en"], []),
        (["de-en", "fr-en"], ["average"]),
        (["en-de", "en-fr"], ["average"]),
        (["de-en", "en-de"], ["average", "into en", "out of en"]),
        (["de-en", "de-fr"], ["average", "into en"]),
    ],
)
def test_averages_that_say_something(directions, heads):
    table = comparison_table(
        [("a", _score(bleu=dict.fromkeys(directions, 1.0)))], Measure("s2tt", "bleu")
    )
    assert str(table).splitlines()[0] == "|" + "|".join(["system", *directions, *heads]) + "|"


def test_published_rows():
    rows = [("a", _score(wer={"de": 10.0, "en": 20.0}))]
    published = [
        PublishedRow("P", "asr", {"en": 5.0}, "s", "x", 4.0, ("de", "en")),
        PublishedRow("Q", "asr", {"en": 6.0}, "s", "x", 3.0, ("de", "fr")),
        PublishedRow("R", "asr", {"fr": 6.0}, "s", "x"),
    ]
    assert str(comparison_table(rows, Measure("asr", "wer"), published)).splitlines()[3:] == [
        "|P (published, not rescored)|-|5.0|4.0|",
        "|Q (published, not rescored)|-|6.0|-|",
    ]


def test_seeds():
    rows = [
        ("x", _score(wer={"de": 10.0, "en": 20.0})),
        ("x_seed1", _score(wer={"de": 12.0, "en": 20.0})),
        ("x_seed20", _score(wer={"de": 14.0, "en": 20.0})),
        ("y_seed1", _score(wer={"de": 1.0, "en": 1.0})),
    ]
    table = str(seeds_table(rows, Measure("asr", "wer"))).splitlines()
    assert table[2:] == ["|x|3|12.0 ± 2.0|20.0 ± 0.0|16.0 ± 1.0|"]
    assert not seeds_table(rows[3:], Measure("asr", "wer"))
    rows.append(("y_seed2", _score(wer={"de": 3.0})))
    assert "|y|2|2.0 ± 1.4|1.0|1.0|" in str(seeds_table(rows, Measure("asr", "wer")))


def _result(key="de", metric="wer", p_value=0.01, p_two_sided=0.01, **more):
    values = {"task": "asr", "system": "B", "baseline": "A", "samples": 1000, "low": -2.0}
    values |= {"difference": -1.2, "high": -0.44} | more
    return PairedResult(key=key, metric=metric, p_value=p_value, p_two_sided=p_two_sided, **values)


@pytest.mark.parametrize(
    ("result", "cell"),
    [
        (_result(), "**-1.2 [-2.0, -0.4] p=0.010**"),
        (_result(p_value=0.0004), "**-1.2 [-2.0, -0.4] p<0.001**"),
        (_result(p_value=0.04, p_two_sided=0.08), "-1.2 [-2.0, -0.4] p=0.040"),
        (_result(p_value=float("nan")), "-"),
    ],
)
def test_cells_of_paired_tests(result, cell):
    assert to_markdown(paired_tables([result])).splitlines()[-1] == f"|de|{cell}|"


def test_paired_tables_are_parted_by_task_and_metric():
    results = [
        _result(),
        _result("zh", "cer"),
        _result("pooled", "cer"),
        _result("de-en", "bleu", task="s2tt", test=SACREBLEU),
        _result(system="C"),
    ]
    text = to_markdown(paired_tables(results))
    assert "### asr: difference from A, in points of error rate (less is better)" in text
    assert "### s2tt: difference from A, in points of BLEU (more is better)" in text
    assert "||B|C|" in text and "|zh CER|" in text and "|pooled CER|" in text
    assert "nearly one-sided" in paired_explanation(results)
    assert "sacreBLEU paired bootstrap for BLEU by direction, paired" in paired_explanation(results)
    assert "nearly one-sided" not in paired_explanation(results[:1])


def test_shown():
    assert (shown(None), shown(1.25), shown(1.25, (1.0, 2.0))) == ("-", "1.2", "1.2 [1.0, 2.0]")
