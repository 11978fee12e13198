"""The data of a stage, with a cache of the encoder's output that lacks a clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from espnet_part.data.chat import ChatFormat
from espnet_part.data.datadir import Example
from espnet_part.data.dataset import BatchConfig, DataPosition
from espnet_part.data.examples import ExampleList
from espnet_part.data.heard import Heard
from espnet_part.data.index import ExampleTable, IndexWriter
from espnet_part.data.prompts import Prompts
from espnet_part.data.stage_data import LoaderConfig, SpeechSide, StageData
from espnet_part.data.tokens import count_tokens
from espnet_part.schedule.schedule import Phase
from tests.data.conftest import make_examples

ENCODER = {"fingerprint": "f", "encoder_conf": "c"}


def speech_lengths(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return samples // 320 + 1, samples // 640 + 1


def write_cache(directory: Path, examples: list[Example]) -> str:
    directory.mkdir()
    (directory / "encoder.json").write_text(json.dumps(ENCODER))
    lines = sorted(f"{e.utt_id} feats.ark:{n}\n" for n, e in enumerate(examples) if e.audio)
    (directory / "feats.scp").write_text("".join(lines))
    return str(directory)


def test_an_index_with_a_cache_stays_one(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens are not counted again, nor are its rows read before they are asked for."""
    examples = make_examples(tmp_path / "audio", speech=24)
    prompts, chat = Prompts.load("conf/prompts.yaml"), ChatFormat(tokenizer)
    with IndexWriter(tmp_path / "index", []) as index:
        index.add(examples, *count_tokens(examples, prompts, chat))
    cache = write_cache(tmp_path / "cache", examples[3:])
    speech = SpeechSide(speech_lengths, {"fingerprint": "f"})
    asr = Phase(name="asr", train=["adapter"], lr={"adapter": 1e-3}, tasks=["asr"], steps=2)
    read: list[int] = []

    def get(self: Any, position: Any) -> Any:
        read.append(position)
        return original(self, position)

    original = ExampleTable.__getitem__
    found = []
    for kept in (ExampleList(examples), ExampleTable(tmp_path / "index")):
        loader = LoaderConfig(BatchConfig(size=3))
        data = StageData(kept, prompts, chat, loader, feats_dirs=[cache], encoder_conf="c")
        with monkeypatch.context() as patch:
            patch.setattr(ExampleTable, "__getitem__", get)
            phase, digests = data.phase(asr, speech, True, "phase"), data.digests()
        steps = list(phase.steps(Heard.nothing(len(kept)), DataPosition(), 2))
        rows = [phase.corpus.examples[n] for *_, step in steps for n in step]
        assert all(row.feats for row in rows)
        whole = phase.corpus.examples
        assert whole[:] == [whole[n] for n in range(len(examples))] and whole[-1] == whole[:][-1]
        found.append((digests, phase.dropped, rows, whole[:], whole.has_feats.tolist()))
    assert found[0] == found[1]
    assert len(read) < len(examples)


def test_what_an_incomplete_cache_lacks_is_left_out_and_the_rest_is_noted_as_heard(
    tokenizer: Any, tmp_path: Path
) -> None:
    examples = make_examples(tmp_path / "audio", speech=24)
    lacking = examples[1]
    assert lacking.task == "asr"

    def stage(*feats_dirs: str) -> StageData:
        return StageData(
            ExampleList(examples),
            Prompts.load("conf/prompts.yaml"),
            ChatFormat(tokenizer),
            LoaderConfig(BatchConfig(size=3)),
            feats_dirs=feats_dirs,
            encoder_conf="c",
        )

    whole = stage(write_cache(tmp_path / "whole", examples))
    data = stage(write_cache(tmp_path / "part", [e for e in examples if e is not lacking]))
    speech = SpeechSide(speech_lengths, {"fingerprint": "f"})
    asr = Phase(name="asr", train=["adapter"], lr={"adapter": 1e-3}, tasks=["asr"], steps=2)
    phase = data.phase(asr, speech, True, "phase")
    assert phase.dropped == [(lacking.utt_id, "no cached encoder output")]

    heard = Heard.nothing(len(data.examples))
    steps = list(phase.steps(heard, DataPosition(), 2))
    read = [phase.corpus.examples[n].utt_id for _, _, step in steps for n in step]
    ahead = phase.heard_after(heard, steps[-1][0]).ahead
    assert sorted(data.examples[n].utt_id for n in ahead.nonzero()[0]) == sorted(read)
    assert lacking.utt_id not in read and len(read) == 6

    # where the encoder has been trained, the audio is read, and nothing is lacking
    later = data.phase(asr, speech, False, "phase")
    assert not later.dropped
    assert list(later.corpus.examples) == examples
    # the steps depend on what is lacking, and not on a cache that lacks nothing
    assert whole.digests() == stage().digests()
    assert data.digests()["data"] != whole.digests()["data"]
