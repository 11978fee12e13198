"""Over HTTP: every form of an answer is what the command gives, and errors have OpenAI's form."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import soundfile

from espnet_part.decode.detect import candidates
from espnet_part.decode.direction import Direction
from espnet_part.decode.lines import one_line
from espnet_part.decode.transcribe import AudioFile, fit_windows, transcribe
from espnet_part.decode.transcripts import to_dict, to_subtitles, to_text
from espnet_part.serve.model import ServedModel
from tests.decode.sound import RATE
from tests.serve.conftest import WINDOWS
from tests.serve.fake import Fake

PARTS = (-0.5, 1.0, -1.0, 2.0, -1.0, 1.5, -0.7)


def expected(
    model, path: Path, task: str = "asr", lang: str = "de", tgt: str = "de", words: bool = False
):
    """What part_transcribe makes of a file."""
    direction = Direction(task, lang, tgt, words=words)
    langs = () if lang else candidates(model.trained_on, direction)
    windowing = fit_windows(model, direction, WINDOWS, langs)
    files = [AudioFile(path, Path(path.name), None)]
    (transcript,) = transcribe(files, model, direction, windowing, langs)
    assert transcript.error is None and len(transcript.lines) > 1
    return transcript


def test_every_form_is_what_the_command_writes(start, talk, model):
    server, path = start(), talk(*PARTS)
    want = expected(model, path)
    text = to_text(want, "de")
    assert len(set(text.split())) > 1
    assert server.post(path, language="de").json == {"text": text}
    assert server.post(path, language="de", response_format="text").text == f"{text}\n"
    for form, head in (("srt", "1\n"), ("vtt", "WEBVTT\n\n")):
        answer = server.post(path, language="de", response_format=form)
        assert answer.text == to_subtitles(want, form) and answer.text.startswith(head)
    found = server.post(path, language="de", response_format="verbose_json").json
    windows = to_dict(want, {"to": "de"})["windows"]
    assert found["text"] == text and found["duration"] == pytest.approx(7.7)
    assert (found["task"], found["language"]) == ("transcribe", "de")
    for segment, window in zip(found["segments"], windows, strict=True):
        assert [segment[key] for key in ("start", "end", "text")] == [
            window[key] for key in ("start", "end", "text")
        ]
        average = window["score"] / (len(segment["tokens"]) + 1)
        assert segment["avg_logprob"] == pytest.approx(average, abs=1e-3)
    assert server.idle()


def test_a_stream_of_events_is_the_text_window_by_window(start, talk, model):
    server, path = start(), talk(*PARTS)
    want = expected(model, path)
    text = to_text(want, "de")
    answer = server.post(path, language="de", stream="true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    *deltas, done = answer.events
    assert {event["type"] for event in deltas} == {"transcript.text.delta"}
    assert "".join(event["delta"] for event in deltas) == text and len(deltas) > 1
    assert done == {"type": "transcript.text.done", "text": text}
    *deltas, done = server.post(
        path, language="de", stream="true", response_format="verbose_json"
    ).events
    assert [event["segment"] for event in deltas] == done["segments"]
    assert done["text"] == text and done["duration"] == pytest.approx(7.7)
    assert done["srt"] == to_subtitles(want, "srt") and done["vtt"] == to_subtitles(want, "vtt")
    assert server.idle()


def test_a_language_that_is_left_out_is_detected_once_a_file(start, talk, model):
    server, path = start(), talk(*PARTS)
    want = expected(model, path, lang="", tgt="")
    lang, probability = want.language
    assert 0.5 < probability < 1.0
    found = server.post(path, response_format="verbose_json").json
    assert (found["language"], found["to_language"]) == (lang, lang)
    assert found["language_probability"] == pytest.approx(probability, abs=1e-3)
    assert found["text"] == to_text(expected(model, path, lang=lang, tgt=lang), lang)
    *_, done = server.post(path, stream="true").events
    assert done["text"] == found["text"]
    silence = server.post(talk(-2.0), response_format="verbose_json").json
    assert (silence["language"], silence["text"]) == (None, "")
    assert server.idle()


def test_a_prompt_is_what_the_llm_is_told_beforehand(start, talk, model):
    server, path = start(), talk(-0.3, 1.0, -0.3)
    texts = [
        server.post(path, language="de", prompt=prompt, response_format="verbose_json").json
        for prompt in ("", "Names: Nguyen", "Names: Kraków")
    ]
    assert len({found["text"] for found in texts}) == 3
    samples = soundfile.read(path, dtype="float32")[0]
    for found, context in zip(texts[1:], ("Names: Nguyen", "Names: Kraków"), strict=True):
        (segment,) = found["segments"]
        window = samples[round(segment["start"] * RATE) : round(segment["end"] * RATE)]
        assert found["text"] == one_line(model(window, lang="de", context=context)[0].text)


def test_without_a_language_a_model_that_knows_none_asks_for_it(start, talk):
    server = start(Fake())
    assert server.post(talk(*PARTS)).error == (
        "400 language: give the language that is spoken (such as de)"
    )
    assert server.idle()


def test_translations_write_english_or_what_is_asked_for(start, talk, model):
    server, path = start(), talk(*PARTS)
    want = {"text": to_text(expected(model, path, "s2tt", "de", "en"), "en")}
    # German is the only language that is translated into English
    assert server.post(path, "translations").json == want
    assert server.post(path, "translations", language="de", to_language="en").json == want
    assert server.post(path, "translations", target_language="en").json == want
    assert server.post(path, "translations", to_language="fr").error == (
        "400 the model was not trained on s2tt of de to fr (s2tt: de to en)"
    )
    assert server.post(path, "translations", language="en", to_language="en").error == (
        "400 to_language: s2tt writes another language than it reads: en to en; see "
        "/v1/audio/transcriptions"
    )


@pytest.mark.parametrize(
    ("fields", "status", "said", "param"),
    [
        ({"language": "fr"}, 400, "was not trained on asr of fr (asr: de, en)", "language"),
        ({"language": "German"}, 400, "did you mean de (German)?", "language"),
        ({"language": "\x1b[2J"}, 400, "not the code of a language", "language"),
        ({"language": "de", "model": "whisper-1"}, 404, "there is 'tiny'", "model"),
        (
            {"language": "de", "response_format": "xml"},
            400,
            "must be one of json",
            "response_format",
        ),
        ({"langauge": "de"}, 400, "did you mean `language`", "langauge"),
        ({"language": "de", "stream": "maybe"}, 400, "true or false", "stream"),
        (
            {"language": "de", "stream": "true", "response_format": "srt"},
            *(400, "srt comes as a whole", "stream"),
        ),
        ({"language": "de", "temperature": "0.7"}, 400, "it can only be 0", "temperature"),
        ({"language": "de", "temperature": "nan"}, 400, "it can only be 0", "temperature"),
        ({"language": "de", "prompt": "word " * 500}, 400, "shorten the context", None),
        (
            {"language": "de", "timestamp_granularities[]": "word"},
            *(400, "only verbose_json", "timestamp_granularities[]"),
        ),
        (
            {
                "language": "de",
                "timestamp_granularities[]": "word",
                "response_format": "verbose_json",
            },
            *(400, "hears by CTC", "timestamp_granularities[]"),
        ),
        ({"language": "de", "include[]": "logprobs"}, 400, "not supported", "include[]"),
        ({"language": "x" * 20_000}, 400, "language: too long", "language"),
        ({f"x{n}": "" for n in range(60)}, 400, "more than 50 fields", None),
    ],
)
def test_what_makes_no_sense_is_named(start, talk, fields, status, said, param):
    server = start()
    answer = server.post(talk(*PARTS), **fields)
    assert answer.status == status and said in answer.error
    assert answer.json["error"]["param"] == param
    assert "\x1b" not in answer.text and server.idle()


def test_model_name_may_be_given_or_left_out(start, talk):
    server, path = start(), talk(-0.3, 1.0, -0.3)
    texts = {server.post(path, language="en", **more).text for more in ({}, {"model": "tiny"})}
    assert len(texts) == 1
    (entry,) = server.ask("GET", "/v1/models").json["data"]
    assert entry["id"] == "tiny" and entry["object"] == "model"
    assert entry["languages"] == {"asr": [["de", "de"], ["en", "en"]], "s2tt": [["de", "en"]]}
    assert server.ask("GET", "/v1/models/tiny").json == entry
    assert server.ask("GET", "/v1/models/other").error.startswith("404 no model 'other' here")


def test_routes_that_do_not_exist(start):
    server = start()
    assert server.ask("GET", "/v1/audio/transcriptions").error.startswith("405 ")
    assert server.ask("GET", "/../../etc/passwd").error.startswith("404 ")
    assert server.ask("POST", "/v1/chat/completions", b"{}").error.startswith("404 ")
    assert server.ask("GET", "/docs").status == 404
    paths = server.ask("GET", "/openapi.json").json["paths"]
    assert "/v1/audio/transcriptions" in paths


def test_only_multipart_forms_are_read(start):
    server = start()
    audio = "/v1/audio/transcriptions"
    for headers in ({}, {"Content-Type": "audio/wav"}, {"Content-Type": "multipart/form-data"}):
        assert server.ask("POST", audio, b"RIFF", headers).error.startswith("415 ")
    form = {"Content-Type": "multipart/form-data; boundary=abc"}
    for body in (b"", b"junk", b"--abc\r\n", b"--abc\r\nX: y\r\n\r\nz\r\n--abc--\r\n"):
        assert server.ask("POST", audio, body, form).error.startswith("400 ")
    cut = b'--abc\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nRIFF'
    assert server.ask("POST", audio, cut, form).error == "400 the request ends within a part"
    assert server.post(None, language="de").error == "400 file: is missing"
    assert server.idle()


def test_keys_open_the_server(start, talk):
    server, path = start(keys=["right-key-1", "right-key-2"]), talk(-0.3, 1.0, -0.3)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic right-key-1"}):
        answer = server.post(path, language="de", headers=headers)
        assert answer.error.startswith("401 ")
        assert answer.headers["www-authenticate"] == "Bearer"
        for url in ("/v1/models", "/metrics"):
            assert server.ask("GET", url, headers=headers).status == 401
    for key in ("right-key-1", "right-key-2"):
        headers = {"Authorization": f"Bearer {key}"}
        assert server.post(path, language="de", headers=headers).status == 200
        assert server.ask("GET", "/metrics", headers=headers).status == 200
    assert server.ask("GET", "/health").json == {"status": "ok"}


def test_pages_of_other_hosts_are_refused(start, talk):
    server, path = start(), talk(-0.3, 1.0, -0.3)
    own = {"Origin": f"http://127.0.0.1:{server.port}"}
    assert server.post(path, language="de", headers=own).status == 200
    foreign = {"Origin": "https://evil.example"}
    assert server.post(path, language="de", headers=foreign).error.startswith("403 ")


def test_metrics_count_what_was_done(start, talk):
    server = start()
    server.post(talk(*PARTS), language="de")
    server.post(b"junk", language="de")
    assert server.idle()
    text = server.ask("GET", "/metrics").text
    labels = 'endpoint="/v1/audio/transcriptions"'
    assert f'part_requests_total{{{labels},status="200"}} 1.0' in text
    assert f'part_requests_total{{{labels},status="400"}} 1.0' in text
    assert f"part_request_seconds_count{{{labels}}} 2.0" in text
    audio = next(line for line in text.splitlines() if line.startswith("part_audio_seconds_total"))
    assert float(audio.split()[1]) == pytest.approx(7.7)
    assert "part_queue_windows 0.0" in text and "part_active_requests 0.0" in text
    assert "part_windows_at_once_count 3.0" in text


def test_times_of_words_of_a_model_that_hears(start, talk, spelling):
    spelling.trained_on = frozenset({("asr", "de", "de")})
    server, path = start(ServedModel(spelling, dict(WINDOWS))), talk(*PARTS)
    wanted = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    found = server.post(path, language="de", **wanted).json
    want = [
        word.to_dict() for line in expected(spelling, path, words=True).lines for word in line.words
    ]
    assert found["words"] == want and len(want) > 1
    assert "words" not in server.post(path, language="de", response_format="verbose_json").json


def test_times_of_words_that_fail_harm_no_other(start, talk, spelling, monkeypatch):
    spelling.trained_on = frozenset({("asr", "de", "de")})
    server, path = start(ServedModel(spelling, dict(WINDOWS))), talk(*PARTS)

    def fails(*_):
        raise RuntimeError("no memory")

    monkeypatch.setattr("espnet_part.serve.model.word_times", fails)
    wanted = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    answers = {}

    def ask(number):
        wishes = wanted if number % 2 else {}
        answers[number] = server.post(path, language="de", **wishes)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[n].status for n in range(4)] == [200, 500, 200, 500]
    assert "RuntimeError: no memory" in answers[1].error and server.idle()
