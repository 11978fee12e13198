"""Help of part_train: quick, short, and true."""

from __future__ import annotations

import subprocess
import sys

import pytest

from espnet_part.parsing import parse_yaml
from espnet_part.train.arguments import COMMON, short_help


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_short_and_loads_nothing_heavy(option):
    code = (
        "import sys; from espnet_part.bin.part_train import main; main(sys.argv[1:]); "
        "print([m for m in ('torch', 'transformers', 'espnet2.tasks', 'numpy') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, "--config", "no_such.yaml", option]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: part_train --config")
    assert done.stdout.endswith("[]\n")
    assert "part_train --help_all prints all" in done.stdout
    assert done.stderr == ""


def test_help_shows_options_and_defaults():
    shown = " ".join(short_help().split())
    assert "--model_config MODEL.yaml" in shown
    assert "--average_last N" in shown and "(default: 0)" in shown
    assert "--accum_grad N" in shown and "(default: false)" in shown


def test_espnets_options_are_as_espnet_has_them(capsys):
    """What the short help says of ESPnet's options, against ESPnet's parser and this task's defaults."""
    from espnet_part.bin.part_train import get_parser, main

    parser = get_parser()
    capsys.readouterr()
    actions = {option: action for action in parser._actions for option in action.option_strings}
    for name, _, default, _ in COMMON:
        assert parser.get_default(name) == default, name
        assert f"--{name}" in actions
    main(["--help_all"])
    printed = capsys.readouterr().out
    assert printed.startswith("usage:")
    assert "--detect_anomaly" in printed and "--average_last" in printed


GIVEN = ["--output_dir", "o", "--train_data_dir", "t", "--valid_data_dir", "v", "--phases", "[]"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train_data_dirr", "x"], "unknown key `--train_data_dirr`; did you mean"),
        (["--model_conf", "x"], "unknown key `--model_conf`; did you mean `--model_config`"),
        ([], "missing: --output_dir, --train_data_dir, --valid_data_dir, --phases; "),
        (["--config", "conf/system/part/stage1.yaml"], "missing: --output_dir, --train_data_dir"),
        ([*GIVEN, "--ngpu", "abc"], "command line: ngpu: must be a whole number: 'abc'"),
        ([*GIVEN, "--parallel", "zero3"], "command line: parallel: must be one of ddp, fsdp2: "),
    ],
)
def test_a_wrong_command_line_is_told_in_a_few_lines(words, said, capsys):
    from espnet_part.bin.part_train import main

    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code != 0
    error = capsys.readouterr().err
    assert error.count("\n") <= 3
    assert f"error: {said}" in error.splitlines()[-1]


def test_print_config_shows_what_files_and_options_amount_to(capsys):
    from espnet_part.bin.part_train import main

    main(["--config", "conf/system/part/stage2.yaml", "--seed", "7", "--print_config"])
    shown = parse_yaml(capsys.readouterr().out, "shown")
    assert shown["seed"] == 7
    assert [phase["name"] for phase in shown["phases"]] == ["encoder_top", "encoder_all"]


def test_wrong_options_are_told_before_espnet_is_imported():
    code = (
        "import sys; from espnet_part.bin.part_train import _check\n"
        "try: _check(['--output_dirr', 'x'])\n"
        "except Exception as error: print(error)\n"
        "print([m for m in ('torch', 'espnet2.tasks') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "unknown key `--output_dirr`; did you mean `--output_dir`?\n[]\n"
