"""Subtitles: form, times, and lines that can be read."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.decode.subtitles import COLUMNS, Cue, to_srt, to_vtt, width, wrap

TIME = re.compile(r"(\d\d+):(\d\d):(\d\d),(\d\d\d) --> (\d\d+):(\d\d):(\d\d),(\d\d\d)")


def parse(content):
    """A strict reader of SubRip: (start, end) in milliseconds and the lines of each block."""
    if not content:
        return []
    assert content.endswith("\n") and "\r" not in content
    found = []
    for number, block in enumerate(content[:-1].split("\n\n"), 1):
        head, times, *lines = block.split("\n")
        assert head == str(number) and lines and all(line.strip() for line in lines)
        match = TIME.fullmatch(times)
        assert match
        h1, m1, s1, f1, h2, m2, s2, f2 = map(int, match.groups())
        assert max(m1, s1, m2, s2) < 60
        start, end = ((h1 * 60 + m1) * 60 + s1) * 1000 + f1, ((h2 * 60 + m2) * 60 + s2) * 1000 + f2
        found.append((start, end, lines))
    return found


LONG = (
    "This is a sentence of some length, which goes on for a while. Here is another one, and it "
    "takes up about as much space as the first one did. The third is short. And this is the end "
    "of what was said without a pause in half a minute."
)


def test_short_text_is_one_cue():
    content = to_srt([Cue(1.25, 3.5, "Guten Tag."), Cue(3725.0, 3727.0004, "Auf Wiedersehen.")])
    assert content == (
        "1\n00:00:01,250 --> 00:00:03,500\nGuten Tag.\n\n"
        "2\n01:02:05,000 --> 01:02:07,000\nAuf Wiedersehen.\n"
    )


def test_long_text_is_divided_at_sentences_in_proportion():
    cues = parse(to_srt([Cue(10.0, 40.0, LONG)]))
    assert len(cues) >= 3 and cues[0][0] == 10_000 and cues[-1][1] == 40_000
    assert " ".join(line for cue in cues for line in cue[2]) == LONG
    for (start, end, lines), following in zip(cues, [*cues[1:], None], strict=True):
        assert len(lines) <= 2 and all(width(line) <= COLUMNS for line in lines)
        assert following is None or end == following[0]
        share = width(" ".join(lines)) / width(LONG)
        assert abs((end - start) / 30_000 - share) < 0.02
    assert any(cue[2][-1].endswith(".") for cue in cues[:-1])


def test_chinese_and_japanese_count_double_and_break_between_characters():
    lines = wrap("我们今天去北京看长城，天气非常好，大家都很高兴。")
    assert len(lines) == 2 and all(width(line) <= COLUMNS for line in lines)
    assert not any(line[0] in "，。" for line in lines)
    cues = parse(to_srt([Cue(0.0, 20.0, "今日は天気がいいので、公園へ散歩に行きました。" * 4)]))
    assert all(width(line) <= COLUMNS and len(line) <= 21 for _, _, ls in cues for line in ls)
    assert len(cues) >= 2


def test_korean_breaks_between_words():
    text = "안녕하세요 오늘은 날씨가 아주 좋아서 공원에 산책하러 갔습니다"
    assert " ".join(wrap(text)) == text and len(wrap(text)) == 2


def test_lines_are_of_about_the_same_length():
    first, second = wrap("one two three four five six seven eight nine ten")
    assert abs(len(first) - len(second)) < 8


def test_short_cues_stay_for_a_second_where_there_is_room():
    cues = parse(to_srt([Cue(1.0, 1.3, "Ja."), Cue(1.5, 1.7, "Nein."), Cue(9.0, 9.2, "Doch.")]))
    assert [cue[:2] for cue in cues] == [(1000, 1500), (1500, 2500), (9000, 10000)]


def test_empty_text_makes_no_cue():
    assert to_srt([]) == "" == to_srt([Cue(0.0, 1.0, " \n")])
    assert len(parse(to_srt([Cue(0.0, 1.0, ""), Cue(1.0, 2.0, "x"), Cue(2.0, 3.0, "")]))) == 1


def test_text_cannot_break_the_form():
    (cue,) = parse(to_srt([Cue(0.0, 5.0, "a\n\n2\r\n00:00:00,000 --> 00:00:01,000\u2028b\x00")]))
    assert " ".join(cue[2]) == "a 2 00:00:00,000 → 00:00:01,000 b"


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 20.0),
            st.floats(0.0, 40.0),
            st.text(st.sampled_from("ab ,.。，日本語한국ก\u0301\n->"), max_size=300),
        ),
        max_size=8,
    )
)
def test_any_text_gives_valid_subtitles_with_all_of_it(parts):
    cues, at = [], 0.0
    for gap, seconds, text in parts:
        cues.append(Cue(at + gap, at + gap + seconds, text))
        at += gap + seconds
    before, shown = 0, ""
    for start, end, lines in parse(to_srt(cues)):
        assert before <= start < end
        before = end
        shown += "".join(lines)
        assert all(width(line) <= COLUMNS for line in lines)
    said = "".join(re.sub("-->", "→", re.sub(r"\s+", " ", cue.text)) for cue in cues)
    assert shown.replace(" ", "") == said.replace(" ", "")


def test_webvtt_has_the_same_cues_and_its_markup_is_text():
    cues = [Cue(1.25, 3.5, "Guten Tag <b>& so</b>."), Cue(3725.0, 3727.0, LONG)]
    content = to_vtt(cues)
    assert content.startswith(
        "WEBVTT\n\n00:00:01.250 --> 00:00:03.500\nGuten Tag &lt;b&gt;&amp; so&lt;/b&gt;.\n\n01:02:05.000 -->"
    )
    assert to_vtt([]) == "WEBVTT\n"
    shown = [block.split("\n")[1:] for block in content.strip().split("\n\n")[2:]]
    assert shown == [lines for _, _, lines in parse(to_srt(cues))[1:]]
