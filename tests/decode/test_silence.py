import numpy as np
import pytest

from espnet_part.decode.silence import FRAME, SILENT, SOFT, SOUND, classify_frames, frame_levels
from tests.decode.test_longform import RATE, room, talk


def kinds_of(audio, block=RATE):
    blocks = [audio[start : start + block] for start in range(0, len(audio), block)]
    seconds = list(classify_frames(blocks))
    np.testing.assert_array_equal(np.concatenate([samples for samples, _, _ in seconds]), audio)
    levels = np.concatenate([levels for _, levels, _ in seconds])
    np.testing.assert_allclose(levels, frame_levels(audio))
    return np.concatenate([kinds for _, _, kinds in seconds])


def test_levels():
    sine = np.sin(2 * np.pi * 500 * np.arange(10 * FRAME) / RATE).astype(np.float32)
    assert frame_levels(sine) == pytest.approx([-3.01] * 10, abs=0.01)
    assert frame_levels(0.1 * sine + 0.5) == pytest.approx([-23.01] * 10, abs=0.01)
    assert frame_levels(np.zeros(FRAME + 1, np.float32)) == pytest.approx([-100.0] * 2)


def test_each_frame_has_a_kind():
    audio, spans = talk(-2.0, 4.0, -2.0, 4.0, -2.0)
    kinds = kinds_of(audio)
    assert len(kinds) == 14 * 50
    for start, end in spans:
        assert (kinds[round(start * 50) + 5 : round(end * 50) - 5] == SOUND).mean() > 0.95
    assert (kinds[:95] == SILENT).mean() > 0.95
    audio[3 * FRAME : 20 * FRAME] *= 10 ** (7 / 20)  # 7 dB above the noise: soft
    assert (kinds_of(audio)[3:20] == SOFT).mean() > 0.9


def test_the_threshold_follows_the_noise():
    audio, _ = talk(*[4.0, -1.0] * 30)
    audio[len(audio) // 2 :] += room(len(audio) / RATE / 2, 1, -38.0)
    kinds = kinds_of(audio)
    pauses = (np.arange(len(kinds)) // 50) % 5 == 4
    for half in (slice(0, 3000), slice(-2000, None)):
        assert (kinds[half][pauses[half]] != SOUND).mean() > 0.95
        assert (kinds[half][~pauses[half]] == SOUND).mean() > 0.9
