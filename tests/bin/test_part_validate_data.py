from __future__ import annotations

import subprocess
import sys

import pytest

from espnet_part.bin.part_validate_data import main
from espnet_part.data.datadir import DataDir
from tests.data.conftest import make_examples


@pytest.fixture
def data_dir(tmp_path):
    DataDir.write(tmp_path / "data", make_examples(tmp_path / "audio"))
    return tmp_path / "data"


def test_sound_directory(data_dir, capsys):
    main([str(data_dir), "--check_audio", "true", "--nj", "1"])
    assert "14 usable examples (asr 4, s2tt 5, t2tt 5)" in capsys.readouterr().out


def test_all_faults_at_once_and_exit_status(data_dir, capsys):
    text = (data_dir / "text").read_text().splitlines()
    (data_dir / "text").write_text("\n".join([*text[1:], text[2], "ghost x"]) + "\n")
    (data_dir / "utt2lang").write_text((data_dir / "utt2lang").read_text().replace(" es", " qq"))
    with pytest.raises(SystemExit) as stop:
        main([str(data_dir)])
    assert stop.value.code == 1
    shown = capsys.readouterr()
    for words in ("2 x unmatched id", "1 x duplicate id", "3 x unknown language", "ghost"):
        assert words in shown.out
    assert "part_validate_data: error:" in shown.err and shown.err.count("\n") == 1


def test_bad_audio_is_found_when_asked(data_dir, tmp_path, capsys):
    (tmp_path / "audio" / "0.wav").write_bytes(b"junk")
    main([str(data_dir)])
    with pytest.raises(SystemExit):
        main([str(data_dir), "--check_audio", "true", "--nj", "1"])
    assert "1 x bad audio" in capsys.readouterr().out


def test_missing_directory(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path / "none")])
    assert "missing directory" in capsys.readouterr().out


def test_answers_without_torch(data_dir):
    code = (
        "import sys; from espnet_part.bin.part_validate_data import main;"
        f"main([{str(data_dir)!r}]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
