"""Verdicts come of intervals, and what is compared is what all have."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from espnet_part.evidence.charts import draw_curves, draw_gains, setting_name
from espnet_part.evidence.evaluation import averages, groups_of, merit
from espnet_part.evidence.findings import CurvePoint, Finding, Gain, gain_of, mirrored, verdict
from espnet_part.evidence.plan import Claim, Question, Setting
from espnet_part.score.two_level import Estimate

DE, EN, FR = ("asr", "de", "de"), ("asr", "en", "en"), ("asr", "fr", "fr")
DE_EN = ("s2tt", "de", "en")
USUAL, SCARCE = Setting(corpus="c"), Setting(corpus="c", s2tt=0.1)


def found(low: float, high: float, seeds: int = 5) -> Estimate:
    return Estimate((low + high) / 2, low, high, 0.5, seeds, 1.0)


@pytest.mark.parametrize("gain, word", [
    (found(0.1, 2), "seen"),
    (found(-0.1, 2), "not seen"),
    (found(-2, -0.1), "the other way round"),
    (found(0.1, 2, seeds=1), "seen (one seed: nothing is known of others)"),
    (None, "not measured"),
    (found(float("nan"), 2), "not measured"),
    (found(float("inf"), float("inf")), "not measured"),
])  # fmt: skip
def test_a_verdict_is_a_function_of_the_interval(gain: Estimate | None, word: str) -> None:
    assert verdict(gain) == word


def finding(settings: list[Setting]) -> Finding:
    question = Question(asks="Which?", pairs=[("a", "b")], settings=[{}] * len(settings))
    gains = [Gain(s, "a", "b", "wer", found(1, 2 + n)) for n, s in enumerate(settings)]
    gains += [Gain(s, "a", "b", "bleu", None) for s in settings]
    curve = [CurvePoint(1, "x", 10, 2, {"wer": (50.0, 40.0, 60.0)})]
    curve += [CurvePoint(2, "y", 30, 2, {"wer": (20.0, 15.0, 22.0), "bleu": (9.0, 8.0, 10.0)})]
    return Finding("q", question, settings, {}, {}, gains, {"a": curve, "b": curve[:1]})


def test_a_claim_is_answered_from_either_side_in_the_usual_setting() -> None:
    without = finding([USUAL])
    without = replace(without, gains=[replace(gain, found=None) for gain in without.gains])
    findings = [finding([SCARCE]), without, finding([SCARCE, USUAL]), finding([USUAL])]
    one = Claim(says="", paper="", better="a", worse="b")
    two = Claim(says="", paper="", better="b", worse="a")
    assert gain_of(one, "wer", findings, USUAL) == found(1, 3)
    assert gain_of(two, "wer", findings, USUAL) == mirrored(found(1, 3))
    assert (mirrored(found(1, 2)).low, mirrored(found(1, 2)).high) == (-2, -1)
    assert gain_of(one, "bleu", findings, USUAL) is None


def test_averages_are_over_what_all_have() -> None:
    one = {DE: np.array([10.0, 11]), EN: np.array([20.0, 21]), DE_EN: np.array([30.0, 31])}
    two = {**one, FR: np.array([90.0, 90])}
    keys = groups_of("wer", [one, two])
    assert keys == [DE, EN]
    assert averages("wer", [one, two], keys).tolist() == [[15, 16], [15, 16]]
    assert groups_of("bleu", [one, two]) == [DE_EN]


def test_settings_are_chosen_by_bleu_less_errors() -> None:
    assert merit({DE: np.array([10.0]), EN: np.array([20.0]), DE_EN: np.array([30.0])}) == 15
    assert merit({DE: np.array([10.0])}) == -10


def test_a_setting_is_named_by_what_varies() -> None:
    assert setting_name(SCARCE, [USUAL, SCARCE]) == "10 % of S2TT"
    assert setting_name(USUAL, [USUAL, SCARCE]) == "100 % of S2TT"
    assert setting_name(USUAL, [USUAL]) == ""


def test_what_has_no_interval_is_not_drawn(tmp_path) -> None:
    odd = finding([USUAL])
    gains = [*odd.gains[:1], Gain(USUAL, "a", "b", "bleu", found(math.nan, math.nan))]
    draw_gains(replace(odd, gains=gains), tmp_path / "gains.png")
    with pytest.raises(ValueError, match="no gain"):
        draw_gains(replace(odd, gains=gains[1:]), tmp_path / "none.png")


def test_a_question_may_hold_any_text(tmp_path) -> None:
    odd = finding([USUAL])
    asks = replace(odd.question, asks="What do $5 and x_{1$ give?")
    draw_gains(replace(odd, question=asks), tmp_path / "gains.png")
    assert (tmp_path / "gains.png").is_file()


def test_figures_are_drawn(tmp_path) -> None:
    draw_gains(finding([USUAL, SCARCE]), tmp_path / "gains.png")
    draw_curves(finding([USUAL]), tmp_path / "curves.png")
    assert all((tmp_path / name).stat().st_size > 9999 for name in ("gains.png", "curves.png"))
