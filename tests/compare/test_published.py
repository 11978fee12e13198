"""The data file of published figures: complete, sourced, and never taken for measured."""

import pytest

from espnet_part.compare.published import published_names, read_published
from espnet_part.errors import ConfigError

BENCHMARKS = [
    "commonvoice15",
    "fleurs",
    "wenetspeech:test_net",
    "wenetspeech:test_meeting",
    "covost2",
]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_row_has_figures_a_source_and_a_status(name):
    benchmark = read_published(name)
    assert benchmark.rows and benchmark.convention
    for row in benchmark.rows:
        assert row.source and row.status
        assert row.values or row.average_value
        assert all(0 < value < 100 for value in row.values.values())
        assert (row.average_value is None) == (row.average_over == ())


def test_all_benchmarks_of_the_file_are_tested():
    assert {name.split(":")[0] for name in BENCHMARKS} == set(published_names())


def test_known_figures():
    voice = {row.name: row for row in read_published("commonvoice15").rows}
    assert voice["Qwen2.5-Omni"].values == {"en": 7.6, "zh": 5.2, "yue": 7.3, "fr": 7.5}
    assert voice["PART-2B"].average_value == 7.4 and len(voice["PART-2B"].average_over) == 10
    net = {row.name: row for row in read_published("wenetspeech:test_net").rows}
    assert net["FireRedASR-LLM"].values == {"zh": 4.60}
    covost = {row.name: row for row in read_published("covost2").rows}
    assert covost["Qwen2-Audio"].values["en-zh"] == 45.2


def test_test_sets():
    assert read_published("wenetspeech", "test_meeting") == read_published(
        "wenetspeech:test_meeting"
    )
    with pytest.raises(ConfigError, match="give one of wenetspeech:test_meeting"):
        read_published("wenetspeech")
    with pytest.raises(ConfigError, match="one test set only"):
        read_published("fleurs:test")
    with pytest.raises(ConfigError, match="did you mean `fleurs`"):
        read_published("fleur")


def test_an_average_is_given_only_over_its_own_languages():
    (row,) = (row for row in read_published("covost2").rows if row.name == "PART-2B")
    assert row.average(["zh-en", "ja-en", "de-en", "fr-en", "es-en", "it-en", "ru-en"]) == 35.4
    assert row.average(["de-en", "fr-en"]) is None


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: {title: t, task: asr, systems: [{name: x}]}\n")
    with pytest.raises(ConfigError, match="damaged"):
        read_published("a", path=path)
