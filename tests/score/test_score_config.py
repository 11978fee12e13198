"""score.yaml: the shipped file says the defaults, and mistakes are named."""

from pathlib import Path

import pytest

from espnet_part.errors import ConfigError
from espnet_part.score.score_config import BootstrapConfig, ScoreConfig, load_score_config

SHIPPED = Path(__file__).parents[2] / "conf" / "score.yaml"


def test_shipped_file_is_the_default():
    assert load_score_config(SHIPPED) == ScoreConfig()


def test_a_file_that_changes_a_little(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: {SHIPPED}\nbootstrap: {{seed: 7}}\nchinese_script: simplified\n")
    config = load_score_config(path)
    assert config.bootstrap == BootstrapConfig(seed=7)
    assert config.chinese_script == "simplified"
    assert config.cer_languages == ("ko",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("normaliser: none", "did you mean `normalizer`"),
        ("normalizer: whisker", "normalizer"),
        ("bootstrap: {level: 95}", "bootstrap.level"),
        ("bootstrap: {samples: -1}", "bootstrap.samples"),
        ("hallucination: {repeats: 1}", "hallucination.repeats"),
    ],
)
def test_mistakes_are_named(tmp_path, line, message):
    path = tmp_path / "score.yaml"
    path.write_text(line)
    with pytest.raises(ConfigError, match=message):
        load_score_config(path)
