"""utils/parse_options.sh, utils/recipe.sh and utils/words.sh."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes.tiny import ROOT, environment

UTILS = ROOT / "egs2/TEMPLATE/part/utils"
SCRIPT = f"""
set -euo pipefail
text=default; nj=4; flag=false; help_message="how to"
. '{UTILS}/parse_options.sh'
printf '%s|' "$text" "$nj" "$flag" "$@"
"""


def parse(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", SCRIPT, "script.sh", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], "default|4|false|"),
        (["--text", "a  'b' $c", "--flag", "true"], "a  'b' $c|4|true|"),
        (["--nj=8", "--text="], "|8|false|"),
        (["--text", "--nj"], "--nj|4|false|"),
        (["--nj", "1", "--nj", "2", "left", "--flag"], "default|2|false|left|--flag|"),
        (["--nj", "1", "--", "--flag"], "default|1|false|--flag|"),
    ],
)
def test_values(words, values):
    done = parse(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, values, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope", "1"], "unknown option --nope"),
        (["--PATH", "/"], "unknown option --PATH"),
        (["--a[$(touch x)]", "1"], "unknown option"),
        (["--nj"], "needs a value"),
        (["--flag", "maybe"], "must be true or false: maybe"),
        (["--config", "/nowhere"], "no such file"),
    ],
)
def test_wrong_options(words, message):
    done = parse(*words)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_words_within_an_option(locale):
    words = ["--dir", "/data/Öl und 'Essig'", "", 'a"b\\c', "$(x) `y`", "two\nlines"]
    script = f"""
python='{sys.executable}'
. '{UTILS}/words.sh'
split_words "$(quote_words "$(quote_words "$@")")"
split_words "${{words[0]}} last"
printf '%s|' "${{words[@]}}"
"""
    done = subprocess.run(
        ["bash", "-euc", script, "x.sh", *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "LC_ALL": locale, "PYTHONUTF8": "1"},
    )
    assert done.stdout.split("|")[:-1] == [*words, "last"], done.stderr


def test_a_quote_without_its_partner_is_an_error():
    script = f"python='{sys.executable}'; . '{UTILS}/words.sh'; split_words \"--lr 'x\"; echo on"
    done = subprocess.run(["bash", "-euc", script, "x.sh"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "x.sh: error: a quote without its partner in: --lr 'x\n"


RECIPE = f"""
set -euo pipefail
langs=de; ngpu=8; num_nodes=1; nj=4
. '{UTILS}/recipe.sh'
own_options "langs ngpu num_nodes" "$@"
decoding_options
printf '%s|' "$langs" "$data_needed" "${{decoding[*]}}" ${{rest[@]+"${{rest[@]}}"}}
"""


def run_recipe_options(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", RECIPE, "run.sh", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], "de|true|--inference_nj 8 --gpu_inference true|"),
        (
            ["--langs", "fr it", "--part_tag", "a b", "--ngpu=0", "--filter-args", "--x 1"],
            "fr it|true|--inference_nj 4|--part_tag|a b|--filter_args|--x 1|",
        ),
        # sizes are those of the stage files on any number of GPUs
        (
            ["--num_nodes", "4", "--ngpu", "3", "--stage", "7"],
            "de|false|--inference_nj 3 --gpu_inference true|--stage|7|",
        ),
        (
            ["--part_args", "--lr 1", "--ngpu", "0"],
            "de|true|--inference_nj 4|--part_args|--lr 1|",
        ),
    ],
)
def test_options_of_a_recipe(words, values):
    done = run_recipe_options(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, values, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--langs"], "the option --langs needs a value"),
        (["--stage"], "the option --stage needs a value"),
        (["--ngpu", "all"], "--ngpu must be a number: all"),
        (["--seed", "1", "--nope", "1"], "unknown option --nope (see run.sh --help)"),
        (["--start_seconds", "1"], "unknown option --start_seconds"),
        (["--a[$(touch x)]", "1"], "unknown option"),
        (["--seed", "1", "2"], "not an option: 2 (see run.sh --help)"),
    ],
)
def test_wrong_options_of_a_recipe(words, message):
    done = run_recipe_options(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("run.sh: error: ") and message in done.stderr


def test_a_recipe_knows_all_options_of_part_sh():
    script = f". '{UTILS}/recipe.sh'; option_names \"$part_script\""
    done = subprocess.run(["bash", "-euc", script, "run.sh"], capture_output=True, text=True)
    shown = subprocess.run(
        ["bash", str(UTILS.parent / "part.sh"), "--help"],
        capture_output=True,
        text=True,
        cwd=UTILS.parent,
    )
    names = re.findall(r"^    --(\w+)", shown.stdout, re.MULTILINE)
    assert len(names) > 40
    assert done.stdout.split() == names


def test_help_and_config(tmp_path):
    assert parse("--help").stdout == "how to\n"
    config = tmp_path / "my options.conf"
    config.write_text("nj=7\ntext=file\n")
    assert parse("--config", str(config), "--text", "line").stdout == "line|7|false|"


@pytest.mark.parametrize(
    "script", sorted(ROOT.glob("egs2/*/part/run.sh")), ids=lambda p: p.parts[-3]
)
def test_a_copy_works_where_the_recipe_is(script: Path, tmp_path: Path) -> None:
    """As `sbatch run.sh` makes one."""
    copy = shutil.copy(script, tmp_path / "slurm_script")
    variables = environment(SLURM_SUBMIT_DIR=str(script.parent))
    for directory in (tmp_path, script.parent):
        done = subprocess.run(
            [copy, "--help"], cwd=directory, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "--stop_stage" in done.stdout
    variables = environment()
    done = subprocess.run([copy], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"{copy}: error: submit it from its own directory\n"
