from __future__ import annotations

import subprocess
import sys

import pytest

from espnet_part.data.datadir import Example
from espnet_part.data.prompts import Prompt, Prompts, language_name, parse_wording
from espnet_part.errors import ConfigError

ASR = Example("u1", "asr", "de", "de", "x", audio="a.wav")
T2TT = Example("u2", "t2tt", "de", "yue", "x", src_text="ein {lang} {speech}")


def test_language_names():
    names = {code: language_name(code) for code in ("en", "de", "es", "zh", "yue")}
    assert names["de"] == "German"
    assert names["zh"] == "Chinese"
    assert names["yue"] == "Cantonese"
    assert language_name("de", "es") == "alemán"
    with pytest.raises(ConfigError, match="unknown language code 'xx'"):
        language_name("xx")


def test_default_prompts_have_several_wordings_for_every_task():
    prompts = Prompts.load("conf/prompts.yaml")
    for example in (ASR, T2TT):
        assert prompts.count(example.task) >= 3
    assert prompts.render(ASR) == Prompt("", "\nTranscribe the German speech.")


def test_what_is_filled_in_is_no_template():
    prompts = Prompts.from_mapping({"t2tt": {"en": ["To {tgt} {{x}}: {source}"]}}, "p")
    assert prompts.render(T2TT) == Prompt("To Cantonese {x}: ein {lang} {speech}")


def test_context_is_a_line_before_the_wording():
    prompts = Prompts.load("conf/prompts.yaml")
    told = prompts.render(ASR, context=" Names: {lang} Nguyen\n")
    assert told == Prompt("Names: {lang} Nguyen\n", "\nTranscribe the German speech.")
    assert prompts.render(ASR, context=" \n") == prompts.render(ASR)
    mapping = {"t2tt": {"en": ["To {tgt}: {source}"]}}
    told = Prompts.from_mapping(mapping, "p").render(T2TT, context="A letter.")
    assert told == Prompt("A letter.\nTo Cantonese: ein {lang} {speech}")


def test_a_wording_of_one_s_own():
    prompts = Prompts.load("conf/prompts.yaml")
    own = parse_wording("In {lang}: {speech}", "asr", "--prompt")
    assert prompts.render(ASR, own) == Prompt("In German: ", "")
    assert prompts.render(ASR, own, "Names.") == Prompt("Names.\nIn German: ", "")
    for wrong, said in [
        ("Transcribe.", r"^--prompt: {speech} must stand in it once"),
        ("{speech} {to}", r"^--prompt: unknown placeholder {to}; known: {speech}"),
        ("{speech", r"^--prompt: .*; write a brace as {{ or }}"),
        (" ", r"^--prompt: must be a text"),
    ]:
        with pytest.raises(ConfigError, match=said):
            parse_wording(wrong, "asr", "--prompt")


def test_names_are_in_the_language_of_the_wording():
    prompts = Prompts.from_mapping({"asr": {"de": ["Schreibe {lang}: {speech}"]}}, "p")
    assert prompts.render(ASR) == Prompt("Schreibe Deutsch: ", "")


def test_peer_defect_09_wordings_do_not_depend_on_the_hash_seed():
    code = (
        "from tests.data.test_prompts import *;"
        "p = Prompts.load('conf/prompts.yaml');"
        "print([p.choose(ASR, s, e) for s in range(3) for e in range(20)])"
    )
    outputs = set()
    for hash_seed in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed, "PATH": "", "PYTHONPATH": "."},
            capture_output=True,
            check=True,
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1
    chosen = set(eval(outputs.pop()))
    assert chosen == {0, 1, 2, 3}


def test_first_wording_outside_training():
    prompts = Prompts.load("conf/prompts.yaml")
    assert prompts.choose(ASR, 7, None) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no prompts"),
        ({"tts": {"en": ["{speech}"]}}, "p.yaml: tts: unknown task"),
        ({"asr": ["{speech}"]}, "p.yaml: asr: must map a language"),
        ({"asr": {}}, "p.yaml: asr: no template"),
        ({"asr": {"qq": ["{speech}"]}}, "p.yaml: asr.qq: unknown language"),
        ({"asr": {"en": "{speech}"}}, "asr.en: must be a list"),
        ({"asr": {"en": []}}, "asr.en: must be a list"),
        ({"asr": {"en": [3]}}, r"asr.en\[0\]: must be a text"),
        ({"asr": {"en": ["{speech}", "Write."]}}, r"asr.en\[1\]: \{speech\} must stand in it once"),
        ({"asr": {"en": ["{speech}{speech}"]}}, r"\{speech\} must stand in it once"),
        ({"asr": {"en": ["{speech} {language}"]}}, r"unknown placeholder \{language\}; known"),
        ({"asr": {"en": ["{speech!r}"]}}, "unknown placeholder"),
        ({"asr": {"en": ["{speech} {"]}}, "write a brace as"),
        ({"asr": {"en": ["{speech} {source}"]}}, r"\{source\} has no meaning for asr"),
        ({"t2tt": {"en": ["{speech}"]}}, r"\{source\} must stand in it once"),
    ],
)
def test_wrong_files_are_named_with_the_key(content, message):
    with pytest.raises(ConfigError, match=message):
        Prompts.from_mapping(content, "p.yaml")


def test_task_without_prompt():
    prompts = Prompts.from_mapping({"asr": {"en": ["{speech}"]}}, "p")
    with pytest.raises(ConfigError, match="no prompt for the task t2tt"):
        prompts.render(T2TT)
