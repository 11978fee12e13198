"""Audio inside a page."""

import base64
import io

import numpy as np
import pytest
import soundfile

from espnet_part.data.audio import BadAudio
from espnet_part.report.page import player
from espnet_part.report.page.player import encode, find_audio, load_player


def _content(uri):
    head, _, content = uri.partition(",")
    return head, io.BytesIO(base64.b64decode(content))


@pytest.mark.parametrize("opus", [True, False])
def test_what_is_put_in_is_heard(monkeypatch, opus):
    if not opus:
        monkeypatch.setattr(soundfile, "available_subtypes", lambda kind: {})
    samples = (0.3 * np.sin(np.arange(16000) * 0.2)).astype(np.float32)
    head, content = _content(encode(samples))
    assert head == f"data:audio/{'ogg' if opus else 'flac'};base64"
    heard, rate = soundfile.read(content)
    heard = heard[:: rate // 16000]
    assert abs(len(heard) - 16000) < 700
    assert abs(np.sqrt(np.mean(heard**2)) - 0.3 / np.sqrt(2)) < 0.03


def test_segments_are_cut_out(tmp_path):
    soundfile.write(tmp_path / "r.wav", np.zeros(16000 * 4), 16000)
    (tmp_path / "wav.scp").write_text(f"rec {tmp_path}/r.wav\nwhole {tmp_path}/r.wav\n")
    (tmp_path / "segments").write_text("one rec 1.0 2.5\n")
    found = find_audio(tmp_path, {"one", "whole", "gone"})
    assert found == {
        "one": (f"{tmp_path}/r.wav", (1.0, 2.5)),
        "whole": (f"{tmp_path}/r.wav", None),
    }
    _, content = _content(load_player(found["one"], tmp_path))
    samples, rate = soundfile.read(content)
    assert len(samples) / rate == pytest.approx(1.5, abs=0.05)


def test_long_audio_and_commands_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(player, "LONGEST_SECONDS", 1.0)
    soundfile.write(tmp_path / "r.wav", np.zeros(32000), 16000)
    for spec in (f"{tmp_path}/r.wav", "touch x |", "gone.wav"):
        with pytest.raises(BadAudio):
            load_player((spec, None), tmp_path)


def test_one_segment_without_times_hides_no_other(tmp_path):
    (tmp_path / "wav.scp").write_text("rec r.wav\n")
    (tmp_path / "segments").write_text("bad rec one two\ngood rec 1 2\n")
    assert find_audio(tmp_path, {"bad", "good"}) == {"good": ("r.wav", (1.0, 2.0))}
