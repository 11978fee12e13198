"""The engine of vLLM: what the processes say to one another, and its answers against transformers'.

A stand-in answers in vLLM's place where only messages count; the comparisons need tools/setup_vllm.sh.
"""

from __future__ import annotations

import gc
import os
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from espnet_part.decode import engines
from espnet_part.decode.budget import Budget
from espnet_part.decode.engines import transformers, vllm
from espnet_part.decode.engines.base import Prompt
from espnet_part.decode.search import Search
from espnet_part.decode.speech2text import Speech2Text
from espnet_part.errors import ConfigError, DataError
from espnet_part.model.config import LLMConf, LoRAConf
from espnet_part.model.llm import LLM

# Stands for the Python of vLLM's environment, which is called as `PYTHON -I program.py SETTINGS`: runs
# the program with something in vLLM's place that answers a prompt with its length and its limit, the
# newest first, or does what the variable FAKE_VLLM says.
STAND_IN = """#!{python} -B
import importlib.util, json, os, sys, time
from types import SimpleNamespace as Names
import safetensors.numpy
sys.modules["safetensors.torch"] = safetensors.numpy  # torch takes seconds to import
sys.modules["vllm"] = sys.modules["vllm.inputs"] = sys.modules["vllm.sampling_params"] = Names(
    SamplingParams=Names, embeds_input=lambda embeddings: embeddings, RequestOutputKind=Names(FINAL_ONLY=1)
)
spec = importlib.util.spec_from_file_location("program", sys.argv[2])
program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)
how, sys.argv = os.environ.get("FAKE_VLLM", ""), sys.argv[2:]

def note(*words):
    with open("{notes}", "a") as file:
        print(*words, file=file)

class Engine:
    model_config = Names(max_model_len=100)
    running = []

    def add_request(self, name, embeddings, params):
        if how == "die" and name == "5":
            print("RuntimeError: out of memory", file=sys.stderr, flush=True)
            os.kill(os.getpid(), 9)
        assert params.temperature == 0 and params.ignore_eos
        tokens = [len(embeddings), params.max_tokens, *params.stop_token_ids[:1]]
        best = Names(token_ids=tokens, cumulative_logprob=float(embeddings.sum()))
        self.running.append(Names(request_id=name, finished=True, outputs=[best]))
        return name + "-inside"

    def abort_request(self, names, internal):
        note("forgotten", *names)

    def step(self):
        if how == "wait":
            time.sleep(0.05)
            return []
        print("what libraries print is no message")
        done, self.running = self.running[::-1], []
        return done

def load(settings):
    if how == "refuse":
        print("a warning", file=sys.stderr)
        raise ValueError("head size 40\\n  is not supported\\n    (see the manual)")
    weights = safetensors.numpy.load_file(os.path.join(settings.pop("model"), "model.safetensors"))
    note(os.getpid(), json.dumps(settings), *weights)
    return Engine()

program.load = load
program.main()
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the stand-in writes down; it is there in vLLM's place."""
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable, notes=tmp_path / "notes"))
    python.chmod(0o755)
    monkeypatch.setenv(vllm.PYTHON, str(python))
    return tmp_path / "notes"


def make_llm(family: str = "qwen2", **more: Any) -> LLM:
    """An LLM with LoRA that does something, and weights so large that it looks at what it reads."""
    torch.manual_seed(0)
    conf = {
        "model_type": family,
        "vocab_size": 61,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,  # vLLM's attention on CPUs takes multiples of it
        "max_position_embeddings": 512,
        **more,
    }
    lora = LoRAConf(rank=2, alpha=4, targets=("q_proj", "v_proj", "down_proj"))
    llm = LLM.from_conf(LLMConf(config=conf, dtype="float32"), lora).eval()
    for name, parameter in llm.named_parameters():
        if ".lora_" in name:
            parameter.data.normal_(std=0.3)
        elif parameter.dim() == 2:
            parameter.data.mul_(4)
    llm.end_token_ids = [*range(40, 44)]
    return llm


def make_prompts(llm: LLM, count: int, longest: int = 60) -> list[Prompt]:
    """Tokens with what could be speech between them, of many lengths and limits."""
    rng = random.Random(0)
    torch.manual_seed(0)
    prompts = []
    for _ in range(count):
        before, after = (torch.randint(60, (rng.randint(1, 8),)) for _ in range(2))
        speech = torch.randn(rng.randint(longest // 2, longest), llm.dim) * llm.embedding_std()
        with torch.no_grad():
            parts = (llm.embedding(before), speech, llm.embedding(after))
            prompts.append(Prompt(torch.cat(parts), rng.choice([1, 2, 5, 30])))
    return prompts


def answers(engine: Any, prompts: Sequence[Prompt | Exception | None]) -> list[Any]:
    found = list(engine.generate(prompts))
    assert sorted(number for number, _ in found) == list(range(len(found)))
    return [answer for _, answer in sorted(found, key=lambda item: item[0])]


def make_engine(llm: LLM, slots: int = 3, **search: Any) -> vllm.Engine:
    return vllm.Engine(llm, Search(**search), Budget(slots), torch.inference_mode)


def test_an_engine_s_name_is_its_folder_s() -> None:
    assert engines.names() == ["transformers", "vllm"]
    assert engines.find("vllm") is vllm.Engine
    assert engines.find(engines.DEFAULT) is transformers.Engine
    with pytest.raises(ConfigError, match="engine: must be transformers or vllm, not 'base'"):
        engines.find("base")


def test_answers_come_back_to_their_prompts_in_any_order(notes: Path) -> None:
    llm = make_llm()
    prompts = make_prompts(llm, 10)
    broken = DataError("no audio")
    stream: list[Prompt | Exception | None] = [None, *prompts[:4], broken, None, None, *prompts[4:]]
    engine = make_engine(llm)
    numbers = [number for number, _ in engine.generate(stream)]
    assert numbers != sorted(numbers)  # the newest of those that run is done first
    found = answers(engine, stream)
    assert found.pop(4) is broken
    assert [answer.tokens for answer in found] == [[len(p.embeddings), p.limit] for p in prompts]
    sums = [float(prompt.embeddings.sum()) for prompt in prompts]
    assert [answer.score for answer in found] == pytest.approx(sums, abs=1e-3)


def test_what_is_there_is_answered_while_the_stream_has_nothing_more(notes: Path) -> None:
    engine = make_engine(make_llm())
    got: list[int] = []

    def stream() -> Iterator[Prompt | None]:
        yield Prompt(torch.zeros(2, 64), 1)
        while not got:
            yield None
        yield Prompt(torch.zeros(3, 64), 1)

    for number, _ in engine.generate(stream()):
        got.append(number)
    assert got == [0, 1]


def test_who_gives_the_prompts_may_ask_as_well(notes: Path) -> None:
    """As a server does that detects the language of one recording while it decodes others."""
    engine = make_engine(make_llm())
    prompts = [Prompt(torch.zeros(length, 64), 1) for length in range(1, 8)]

    def stream() -> Iterator[Prompt | None]:
        for number, prompt in enumerate(prompts):
            yield prompt
            if number % 2:
                asked = [Prompt(torch.zeros(20 + number, 64), 1)] * 2
                assert [a.tokens[0] for a in answers(engine, asked)] == [20 + number] * 2

    assert [answer.tokens[0] for answer in answers(engine, stream())] == [1, 2, 3, 4, 5, 6, 7]


def test_never_are_more_prompts_underway_than_slots(notes: Path) -> None:
    engine = make_engine(make_llm(), slots=2)
    done = underway = 0

    def stream() -> Iterator[Prompt]:
        nonlocal underway
        for underway in range(1, 10):
            assert underway - done <= 2
            yield Prompt(torch.zeros(underway, 64), 1)

    for _ in engine.generate(stream()):
        done += 1
    assert done == 9


def test_the_llm_is_merged_handed_over_and_given_up(notes: Path) -> None:
    llm = make_llm()
    table = llm.embedding.weight.clone()
    engine = make_engine(llm, slots=7)
    pid, settings = notes.read_text().split(" ", 1)
    assert '"slots": 7' in settings and '"ends": [40, 41, 42, 43]' in settings
    assert "lora" not in settings and "model.embed_tokens.weight" in settings
    assert torch.equal(llm.embedding.weight, table)
    assert sum(parameter.numel() for parameter in llm.parameters()) == table.numel()
    del engine
    gc.collect()
    assert ended(int(pid))


def test_the_process_ends_when_its_parent_is_killed(notes: Path) -> None:
    code = """import os, tests.decode.engines.test_vllm as t
engine = t.make_engine(t.make_llm())
os.kill(os.getpid(), 9)"""
    os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code)
    assert ended(int(notes.read_text().split()[0]))


def ended(pid: int) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_prompt_for_which_there_is_no_room_harms_no_other(notes: Path) -> None:
    prompts = [Prompt(torch.zeros(length, 64), 40) for length in (20, 61, 60)]
    found = answers(make_engine(make_llm()), prompts)
    assert isinstance(found[1], DataError)
    assert str(found[1]) == "61 positions of prompt and 40 of its answer; there is room for 100"
    assert [found[n].tokens for n in (0, 2)] == [[20, 40], [60, 40]]


def test_who_stops_listening_has_the_rest_forgotten(
    notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "wait")
    engine = make_engine(make_llm())

    def stream() -> Iterator[Prompt]:
        yield from [Prompt(torch.zeros(2, 64), 1)] * 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(engine.generate(stream()))
    deadline = time.monotonic() + 60
    while "forgotten 1-inside 2-inside" not in notes.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_death_of_the_process_is_one_line(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VLLM", "die")
    engine = make_engine(make_llm())
    says = "the engine vllm: its process was killed by signal 9: RuntimeError: out of memory"
    for _ in range(2):  # it stays dead
        with pytest.raises(DataError) as caught:
            answers(engine, [Prompt(torch.zeros(2, 64), 1)] * 9)
        assert str(caught.value) == says


def test_what_vllm_refuses_is_one_line(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VLLM", "refuse")
    with pytest.raises(DataError) as caught:
        make_engine(make_llm())
    assert str(caught.value) == (
        "the engine vllm: its process ended with status 1: ValueError: head size 40 is not supported"
        " (see the manual)"
    )


def test_where_vllm_is_missing_its_set_up_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exp: Path
) -> None:
    monkeypatch.delenv(vllm.PYTHON, raising=False)
    monkeypatch.setattr(vllm, "_OWN", tmp_path / "none")
    with pytest.raises(ConfigError, match=r"call tools/setup_vllm.sh, or .* PART_VLLM_PYTHON"):
        Speech2Text(exp / "config.yaml", engine="vllm")
    monkeypatch.setenv(vllm.PYTHON, str(tmp_path / "other"))
    with pytest.raises(ConfigError, match=r"PART_VLLM_PYTHON: .*other: no such program"):
        Speech2Text(exp / "config.yaml", engine="vllm")


def test_beams_are_refused_before_weights_are_read(notes: Path, exp: Path) -> None:
    with pytest.raises(ConfigError, match="beam_size: 4: the engine vllm searches greedily"):
        Speech2Text(exp / "config.yaml", exp / "none.safetensors", engine="vllm", beam_size=4)


def test_a_budget_of_positions_is_refused_before_weights_are_read(notes: Path, exp: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_bins: 900: the engine vllm .* takes batch_size"):
        Speech2Text(exp / "config.yaml", exp / "none.safetensors", engine="vllm", batch_bins=900)


def test_speech2text_hands_its_prompts_to_the_process(notes: Path, exp: Path) -> None:
    from tests.decode.conftest import make_speech

    files = exp / "config.yaml", exp / "model.safetensors"
    model = Speech2Text(*files, engine="vllm", max_new_tokens=7)
    (best,) = model(make_speech(1.0, 0), lang="de")
    assert best.token_int[1:] == [7]
    assert best.token_int[0] > 13  # a frame of four states of 20 ms, and the text around


# ---------------------------------------------------------------------------------------------
# With vLLM


@pytest.fixture
def with_vllm() -> None:
    try:
        vllm.find_python()
    except ConfigError as error:
        pytest.skip(str(error))


def test_tokens_and_scores_are_those_of_transformers(with_vllm: None) -> None:
    llm = make_llm(max_position_embeddings=4096)
    # of the long ones vLLM reads no one at once, and has no room for all together
    prompts = [*make_prompts(llm, 30), *make_prompts(llm, 8, longest=2800)]
    wanted = answers(transformers.Engine(llm, Search(), Budget(8), torch.inference_mode), prompts)
    assert len({len(answer.tokens) for answer in wanted}) > 4
    broken = DataError("no audio")
    stream: list[Prompt | Exception | None] = [*prompts[:5], broken, None, *prompts[5:]]
    found = answers(make_engine(llm, slots=6), stream)
    assert found.pop(5) is broken
    assert [answer.tokens for answer in found] == [answer.tokens for answer in wanted]
    scores = [answer.score for answer in wanted]
    assert [answer.score for answer in found] == pytest.approx(scores, abs=1e-3)


def test_an_llm_that_vllm_cannot_run_is_one_line(with_vllm: None) -> None:
    llm = make_llm(hidden_size=80, head_dim=40)
    prompts = make_prompts(llm, 1)
    with pytest.raises(DataError) as caught:
        answers(make_engine(llm), prompts)
    assert re.fullmatch(
        r"the engine vllm: its process ended with status 1: .*[Hh]ead.*", str(caught.value)
    )
