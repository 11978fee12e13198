"""Windows of long audio: what they hold, how long they are, and what is silence."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.decode.longform import Windowing, cut_windows
from espnet_part.decode.silence import FRAME, frame_levels
from tests.decode.sound import RATE, room, speech
from tests.memory import peak_memory


def windows_of(audio, block=10 * RATE, **options):
    blocks = (audio[start : start + block] for start in range(0, len(audio), block))
    return list(cut_windows(blocks, Windowing(**options)))


def talk(*parts, level=-60.0):
    """Positive numbers are seconds of speech, negative ones of silence; and where speech is."""
    pieces, spans, at = [], [], 0.0
    for number, seconds in enumerate(parts):
        noise = room(abs(seconds), number, level)
        pieces.append(noise if seconds < 0 else noise + speech(seconds, number))
        if seconds > 0:
            spans.append((at, at + seconds))
        at += abs(seconds)
    return np.concatenate(pieces), spans


def check(windows, audio, max_window):
    """What holds for all windows of any audio."""
    before = 0.0
    for window in windows:
        assert window.start >= before and window.end > window.start
        assert window.end - window.start <= max_window + 1e-9
        before = window.end
        first, last = round(window.start * RATE), round(window.end * RATE)
        assert first == pytest.approx(window.start * RATE, abs=1e-6)
        np.testing.assert_array_equal(window.samples, audio[first:last])
    assert before <= len(audio) / RATE + 1e-9


def test_sentences_with_pauses_become_windows():
    audio, spans = talk(-0.7, 3.0, -0.8, 2.0, -5.0, 7.5, -20.0)
    windows = windows_of(audio)
    check(windows, audio, 30.0)
    assert len(windows) == len(spans)
    for window, (start, end) in zip(windows, spans, strict=True):
        assert window.start == pytest.approx(start, abs=0.08)
        assert window.end == pytest.approx(end, abs=0.15)


def test_short_pauses_do_not_end_a_window():
    audio, _ = talk(-1.0, 2.0, -0.3, 3.0, -0.3, 2.0, -1.0)
    (window,) = windows_of(audio)
    assert window.start == pytest.approx(1.0, abs=0.08)
    assert window.end == pytest.approx(8.6, abs=0.15)
    assert len(windows_of(audio, min_silence=0.2)) == 3


def test_short_pieces_are_joined_when_near():
    audio, _ = talk(-1.0, 0.6, -0.8, 3.0, -4.0, 0.6, -4.0, 3.0)
    assert [round(w.end - w.start) for w in windows_of(audio)] == [4, 1, 3]
    assert len(windows_of(audio, min_window=0.0)) == 4
    # not beyond the limit
    audio, _ = talk(-1.0, 2.5, -0.8, 0.6, -3.0)
    assert len(windows_of(audio, max_window=3.0)) == 2
    assert len(windows_of(audio, max_window=5.0)) == 1


def test_speech_longer_than_the_limit_is_cut_in_its_longest_gap():
    audio, _ = talk(-1.0, 18.0, -0.3, 6.0, -0.15, 8.0, -1.0)
    windows = windows_of(audio)
    check(windows, audio, 30.0)
    assert len(windows) == 2
    assert windows[0].end == windows[1].start == pytest.approx(19.15, abs=0.15)


def test_speech_without_any_gap_is_cut_at_its_quietest_point():
    audio = speech(50.0)
    audio[round(24.0 * RATE) : round(24.3 * RATE)] *= 0.25  # not silent, but lower
    windows = windows_of(audio)
    check(windows, audio, 30.0)
    assert windows[0].end == windows[1].start == pytest.approx(24.15, abs=0.15)
    assert sum(w.end - w.start for w in windows) == pytest.approx(50.0, abs=0.1)


@pytest.mark.parametrize("level", [-80.0, -60.0, -45.0, -38.0])
@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_any_level_of_noise_and_of_the_recording(level, gain):
    audio, spans = talk(-2.0, 3.0, -1.0, 4.0, -90.0, 5.0, -1.0, 2.0, -2.0, level=level)
    windows = windows_of(gain * audio)
    assert len(windows) == len(spans)
    for window, (start, end) in zip(windows, spans, strict=True):
        assert window.start <= start + 0.05 and window.end >= end - 0.1
        assert window.end - window.start < end - start + 0.6


def test_noise_that_starts_later_is_silence_after_a_while():
    """A fan is switched on in the middle: pauses are found before it and after it."""
    audio, spans = talk(*[3.0, -1.0] * 50)
    fan = len(audio) // 2
    audio[fan:] += room((len(audio) - fan) / RATE, 5, -40.0)
    windows = windows_of(audio)
    late = [w for w in windows if w.start > fan / RATE + 40]
    expected = [span for span in spans if span[0] > fan / RATE + 40]
    assert len(late) == len(expected)
    early = [w for w in windows if w.end < fan / RATE - 40]
    assert len(early) == len([span for span in spans if span[1] < fan / RATE - 40])


def test_quiet_speech_after_loud_speech_is_kept():
    audio, _ = talk(-1.0, *[4.0, -1.0] * 10)
    quiet = room(60.0) + np.concatenate([speech(4.0, level=-42.0), np.zeros(RATE)] * 12)
    windows = windows_of(np.concatenate([audio, quiet]).astype(np.float32))
    assert len(windows) == 22


def test_muted_stretches_do_not_hide_the_noise_between_words():
    """Digital silence is quieter than any room; it must not set the threshold."""
    audio, _ = talk(*[4.0, -1.0] * 8, level=-50.0)
    zeros = np.zeros(20 * RATE, np.float32)
    assert len(windows_of(np.concatenate([zeros, audio, zeros]))) == 8


def test_words_that_begin_and_end_softly_are_whole():
    for level in (-100.0, -60.0):
        audio, spans = talk(-1.0, *[3.0, -1.5] * 8, level=level)
        soft = 0.002 * np.random.default_rng(3).standard_normal(len(audio)).astype(np.float32)
        for start, end in spans:  # -54 dBFS, 0.1 s before and after
            audio[round((start - 0.1) * RATE) : round(start * RATE)] += soft[:1600]
            audio[round(end * RATE) : round((end + 0.1) * RATE)] += soft[:1600]
        for window, (start, end) in zip(windows_of(audio, pad=0.0), spans, strict=True):
            assert start - 0.2 <= window.start <= start - 0.08
            assert end + 0.08 <= window.end <= end + 0.2


def test_nothing_is_made_of_silence():
    assert windows_of(np.zeros(100 * RATE, np.float32)) == []
    assert windows_of(np.full(100 * RATE, 0.3, np.float32)) == []  # a constant offset
    assert windows_of(room(100.0)) == []
    assert windows_of(np.zeros(0, np.float32)) == []
    assert windows_of(np.zeros(7, np.float32)) == []
    clicks = room(60.0)
    clicks[:: 7 * RATE] = 0.9
    assert windows_of(clicks) == []


def test_what_may_be_speech_is_not_silence():
    """Without any contrast nothing is known, so nothing is left out."""
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(65 * RATE) / RATE).astype(np.float32)
    windows = windows_of(tone)
    check(windows, tone, 30.0)
    assert windows[0].start == 0.0 and windows[-1].end == 65.0
    assert all(a.end == b.start for a, b in itertools.pairwise(windows))


@settings(max_examples=30, deadline=None)
@given(
    parts=st.lists(st.tuples(st.floats(0.15, 12.0), st.floats(0.02, 4.0)), max_size=4),
    max_window=st.floats(2.0, 12.0),
    min_window=st.floats(0.0, 0.6),
    min_silence=st.floats(0.1, 1.0),
    pad=st.floats(0.0, 0.05),
    noise=st.sampled_from([-100.0, -60.0, -40.0]),
    extra=st.integers(0, 2 * FRAME),
)
def test_windows_hold_all_speech_once_and_in_order(
    parts, max_window, min_window, min_silence, pad, noise, extra
):
    audio, _ = talk(*(x for loud, quiet in parts for x in (-quiet, loud)), -1.0, level=noise)
    audio = np.concatenate([audio, np.zeros(extra, np.float32)])
    windows = windows_of(
        audio, max_window=max_window, min_window=min_window, min_silence=min_silence, pad=pad
    )
    check(windows, audio, max_window)
    held = np.zeros(len(audio), bool)
    for window in windows:
        held[round(window.start * RATE) : round(window.end * RATE)] = True
    loud = np.repeat(frame_levels(audio) > -26.0, FRAME)[: len(audio)]
    assert held[loud].all()


@settings(max_examples=15, deadline=None)
@given(
    block=st.integers(1000, 40 * RATE),
    parts=st.lists(st.floats(-8.0, 8.0).filter(lambda x: abs(x) > 0.05), min_size=1, max_size=20),
)
def test_the_size_of_blocks_changes_nothing(block, parts):
    audio, _ = talk(*parts)
    one, other = (
        windows_of(audio, len(audio), max_window=6.0),
        windows_of(audio, block, max_window=6.0),
    )
    assert [(w.start, w.end) for w in one] == [(w.start, w.end) for w in other]


def test_memory_does_not_grow_with_the_length():
    def taken(minutes):
        piece, _ = talk(*[3.0, -1.0] * 15)
        with peak_memory() as peak:
            for _ in cut_windows((piece for _ in range(minutes)), Windowing()):
                pass
            return peak()

    assert taken(20) < 1.1 * taken(3)


def test_wrong_settings():
    for wrong, message in [
        ({"max_window": 1.0}, "at least 2 s"),
        ({"min_window": -1.0}, "not be negative"),
        ({"min_silence": 0.0}, "at least 0.1 s"),
        ({"pad": 0.3}, "half of `min_silence`"),
        ({"max_gap": -1.0}, "not be negative"),
        ({"max_window": math.nan}, "max_window"),
    ]:
        with pytest.raises(ValueError, match=message):
            Windowing(**wrong)
