"""The table of what a stage is to hear, and what is worth a warning in it."""

from __future__ import annotations

from espnet_part.data import Stratum
from espnet_part.data.mixture_table import PhaseMixture, mixture_table, mixture_warnings

DE, FR = ("asr", "de", "de"), ("asr", "fr", "fr")
TEXT = ("t2tt", "de", "en")
SIZES = {DE: 1000, FR: 50, TEXT: 200}
HOURS = {DE: 2.0, FR: 0.1, TEXT: 0.0}


def phase(name: str, examples: float, shares: dict[Stratum, float], **bound: str) -> PhaseMixture:
    strata = {"de": DE, "fr": FR}
    sizes = {stratum: SIZES[stratum] for stratum in shares}
    keys = {strata[lang]: key for lang, key in bound.items()}
    return PhaseMixture(name, sizes, HOURS, examples, shares, keys)


def test_a_line_a_stratum_with_totals_by_task_and_of_the_stage() -> None:
    first = phase("first", 2000, {DE: 900, FR: 100}, fr="min_share")
    joint = phase("joint", 1000, {DE: 500, FR: 100, TEXT: 400}, fr="max_epochs")
    assert mixture_table([first, joint]).splitlines() == [
        "| task    | language | into    | utterances | hours | first: share | hours | epochs "
        "| joint: share | hours | epochs | stage: hours | epochs |",
        "|---------|----------|---------|-----------:|------:|-------------:|------:|-------:"
        "|-------------:|------:|-------:|-------------:|-------:|",
        "| asr     | de       | de      |      1,000 |  2.00 |         90 % |  3.60 |    1.8 "
        "|         50 % |  1.00 |    0.5 |         4.60 |    2.3 |",
        "| asr     | fr       | fr      |         50 |  0.10 |     min 10 % |  0.40 |      4 "
        "|         10 % |  0.20 |  max 2 |         0.60 |      6 |",
        "| asr     | **all**  | **all** |      1,050 |  2.10 |        100 % |  4.00 |    1.9 "
        "|         60 % |  1.20 |  0.571 |         5.20 |   2.48 |",
        "| t2tt    | de       | en      |        200 |       |              |       |        "
        "|         40 % |       |      2 |              |      2 |",
        "| t2tt    | **all**  | **all** |        200 |       |              |       |        "
        "|         40 % |       |      2 |              |      2 |",
        "| **all** | **all**  | **all** |      1,250 |  2.10 |        100 % |  4.00 |    1.6 "
        "|        100 % |  1.20 |    0.8 |         5.20 |    2.4 |",
    ]


def test_hundreds_of_languages_are_a_line_each_from_the_largest_to_the_smallest() -> None:
    strata = {("asr", f"l{n:03}", "en"): float(n + 1) for n in range(400)}
    many = PhaseMixture("p", strata, dict.fromkeys(strata, 1.0), 1e6, strata, {})
    _, _, *lines, total = mixture_table([many]).splitlines()
    assert len(lines) == 400 and len({len(line) for line in [*lines, total]}) == 1
    assert [line.split()[3] for line in lines] == [f"l{n:03}" for n in reversed(range(400))]


def test_what_is_repeated_too_often_or_hardly_heard_is_a_warning_each() -> None:
    assert mixture_warnings([phase("p", 1050, {DE: 1000, FR: 50})]) == []
    often, rarely = mixture_warnings(
        [phase("p", 10_000, {DE: 997, FR: 3}), phase("q", 2000, {FR: 1, TEXT: 0.01})]
    )
    assert often == (
        "1 stratum is heard more than 20 times, most of all asr/fr/fr: 40.2 times "
        "(`max_epochs` of a phase limits that)"
    )
    assert rarely == (
        "1 stratum is heard in fewer than 100 utterances of more, least of all t2tt/de/en: 19.8 of "
        "200 (`language_temperature` or `min_share` of a phase raises that)"
    )


def test_a_small_stratum_that_is_heard_whole_is_no_warning() -> None:
    assert mixture_warnings([phase("p", 100, {DE: 50, FR: 50})]) != []
    assert mixture_warnings([phase("p", 50, {FR: 1})]) == []
