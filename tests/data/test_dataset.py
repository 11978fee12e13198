from __future__ import annotations

import dataclasses
import gc
import itertools
import pickle

import numpy as np
import pytest
import torch

from espnet_part.data import dataset
from espnet_part.data.chat import ChatFormat
from espnet_part.data.collate import Batch, collate, make_row
from espnet_part.data.datadir import Example
from espnet_part.data.dataset import BatchConfig, Corpus, DataPosition, PhaseData, RowDataset
from espnet_part.data.examples import ExampleList
from espnet_part.data.heard import Heard
from espnet_part.data.prompts import Prompts
from espnet_part.data.shares import Limits
from espnet_part.data.tokens import count_tokens, read_token_counts, writing_token_counts
from espnet_part.errors import ConfigError, DataError
from espnet_part.model.splice import IGNORE
from tests.data.conftest import make_tokenizer


def speech_lengths(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    frames = samples // 320 + 1
    return frames, frames // 2 + 1


@pytest.fixture
def prompts() -> Prompts:
    return Prompts.load("conf/prompts.yaml")


@pytest.fixture
def corpus(examples, prompts, tokenizer) -> Corpus:
    return Corpus(ExampleList(examples), prompts, ChatFormat(tokenizer), speech_lengths)


def epoch(data: PhaseData, skip: int = 0) -> list[list[Batch]]:
    """The steps of a phase's first epoch from the step ``skip`` on."""
    heard, start = Heard.nothing(len(data.corpus.examples)), DataPosition()
    count = data.steps_in_epochs(heard, 1)
    for after, _, _ in itertools.islice(data.steps(heard, start, count), skip):
        start = after
    return [batches for _, batches in data.loader(heard, start, count - skip)]


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other


def test_labels_are_the_answer_and_the_end_token_only(corpus):
    chat = corpus.chat
    rows = [make_row(e, corpus.prompts, chat) for e in corpus.examples]
    batch = collate(rows, chat.pad_token_id)
    for n, example in enumerate(corpus.examples):
        length = int(batch["input_lengths"][n])
        labelled = batch["labels"][n] != IGNORE
        answer = batch["labels"][n][labelled].tolist()
        assert answer == chat.encode(corpus.prompts.render(example), example.text).answer_ids
        assert answer[-1] == chat.end_token_id
        assert not labelled[length:].any()
        assert torch.equal(batch["labels"][n][labelled], batch["input_ids"][n][labelled])
        assert labelled[length - len(answer) : length].all()


def test_peer_defect_07_prompt_is_not_trained_on_and_end_token_is_when_pad_is_eos(
    examples, prompts
):
    chat = ChatFormat(make_tokenizer(pad="<|im_end|>"))
    assert chat.pad_token_id == chat.end_token_id
    batch = collate([make_row(e, prompts, chat) for e in examples], chat.pad_token_id)
    ends = (batch["labels"] == chat.end_token_id).sum(dim=1)
    assert ends.tolist() == [1] * len(examples)
    assert (batch["labels"][:, 0] == IGNORE).all()
    beyond = torch.arange(batch["labels"].shape[1]) >= batch["input_lengths"][:, None]
    assert (batch["labels"][beyond] == IGNORE).all()


def test_speech_stands_where_the_prompt_says(corpus):
    spoken = [e for e in corpus.examples if e.audio][:2]
    text = [e for e in corpus.examples if not e.audio][:1]
    rows = [make_row(e, corpus.prompts, corpus.chat) for e in [spoken[0], *text, spoken[1]]]
    batch = collate(rows, corpus.chat.pad_token_id)
    assert batch["speech_row"].tolist() == [0, 2]
    for clip, row in enumerate([rows[0], rows[2]]):
        assert batch["speech_position"][clip] == len(row.tokens.prefix_ids)
        assert batch["speech_lengths"][clip] == len(row.speech)
        np.testing.assert_array_equal(batch["speech"][clip, : len(row.speech)], row.speech)
        assert not batch["speech"][clip, len(row.speech) :].any()


def test_what_is_said_goes_with_the_clips(corpus):
    spoken = {e.task: e for e in corpus.examples if e.audio}
    text = next(e for e in corpus.examples if not e.audio)
    silent = dataclasses.replace(spoken["s2tt"], src_text=None)
    examples = [spoken["asr"], text, spoken["s2tt"], silent]
    rows = [make_row(e, corpus.prompts, corpus.chat) for e in examples]
    said = collate(rows, corpus.chat.pad_token_id)["transcripts"]
    assert said == [spoken["asr"].text, spoken["s2tt"].src_text, None]
    assert said[1] != spoken["s2tt"].text


def test_text_batch_holds_no_speech(corpus):
    text = [e for e in corpus.examples if e.task == "t2tt"]
    batch = collate([make_row(e, corpus.prompts, corpus.chat) for e in text], 0)
    assert not {"speech", "encoder_out", "speech_row"} & batch.keys()
    assert batch["padding"]["encoder_padded"] == 0


def test_every_example_once_over_ranks_and_micro_batches(corpus):
    steps = None
    for world, accum in [(1, 1), (2, 1), (1, 3), (2, 2)]:
        by_step: dict[int, list[str]] = {}
        for rank in range(world):
            data = PhaseData(
                corpus,
                ["asr", "s2tt", "t2tt"],
                BatchConfig(bins=300, encoder_cost=0.5),
                world=world,
                rank=rank,
                accum=accum,
            )
            for number, step in enumerate(epoch(data)):
                assert len(step) == accum
                ids = [utt for batch in step for utt in batch["utt_ids"]]
                by_step[number] = by_step.get(number, []) + ids
        read = [utt for ids in by_step.values() for utt in ids]
        assert sorted(read) == sorted(e.utt_id for e in corpus.examples)
        content = {n: sorted(ids) for n, ids in by_step.items()}
        assert steps is None or content == steps  # whatever the world size and accumulation
        steps = content


def test_peer_defect_03_nothing_is_unread_whatever_the_workers(corpus):
    """A skipped over-long utterance must not shift what the workers read."""
    llm = corpus.lengths(np.arange(len(corpus.examples))).llm
    longest = int(np.argmax(llm))
    batch = BatchConfig(size=3, max_llm_length=int(llm.max()) - 1)
    seen = []
    for workers in (0, 2):
        data = PhaseData(corpus, None, batch, num_workers=workers)
        seen.append([b for step in epoch(data) for b in step])
        assert {utt for utt, _ in data.dropped} >= {corpus.examples[longest].utt_id}
        read = [utt for b in seen[-1] for utt in b["utt_ids"]]
        dropped = {utt for utt, _ in data.dropped}
        assert sorted(read) == sorted({e.utt_id for e in corpus.examples} - dropped)
    for one, other in zip(*seen, strict=True):
        assert one.keys() == other.keys()
        assert all(same(one[key], other[key]) for key in one)


def test_peer_defect_04_epochs_differ_and_repeat_on_demand(corpus):
    data = PhaseData(corpus, None, BatchConfig(size=2))
    heard, count = Heard.nothing(len(corpus.examples)), len(epoch(data))
    order = [u for _, s in data.loader(heard, DataPosition(), 2 * count) for u in s[0]["utt_ids"]]
    one, other = order[: len(order) // 2], order[len(order) // 2 :]
    assert one != other
    assert sorted(one) == sorted(other) == sorted(e.utt_id for e in corpus.examples)
    assert one == [u for s in epoch(data) for u in s[0]["utt_ids"]]


def test_resumes_inside_an_epoch(corpus):
    data = PhaseData(corpus, None, BatchConfig(size=2), accum=2)
    whole, rest = epoch(data), epoch(data, skip=3)
    assert [[b["utt_ids"] for b in s] for s in rest] == [[b["utt_ids"] for b in s] for s in whole][
        3:
    ]


def test_loading_leaves_the_global_random_state_alone(corpus):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    epoch(PhaseData(corpus, None, BatchConfig(size=4)))
    assert torch.equal(before, torch.get_rng_state())


def test_validation_is_a_fixed_full_pass_with_the_first_wording(corpus):
    data = PhaseData(corpus, None, BatchConfig(size=4))
    first, again = list(data.fixed_pass()), list(data.fixed_pass())
    ids = [u for (b,) in first for u in b["utt_ids"]]
    assert sorted(ids) == sorted(e.utt_id for e in corpus.examples)
    assert ids == [u for (b,) in again for u in b["utt_ids"]]


def test_bad_audio_is_named_and_the_rest_goes_on(corpus, tmp_path):
    examples = list(corpus.examples)
    spoken = [n for n, e in enumerate(examples) if e.audio]
    (tmp_path / "junk.wav").write_bytes(b"no audio here")
    examples[spoken[0]] = dataclasses.replace(examples[spoken[0]], audio=str(tmp_path / "none.wav"))
    examples[spoken[1]] = dataclasses.replace(examples[spoken[1]], audio=str(tmp_path / "junk.wav"))
    examples[spoken[2]] = dataclasses.replace(examples[spoken[2]], num_samples=99999)
    broken = Corpus(ExampleList(examples), corpus.prompts, corpus.chat, speech_lengths)
    batches = [b for s in epoch(PhaseData(broken, None, BatchConfig(size=4))) for b in s]
    bad = dict(pair for b in batches for pair in b["bad"])
    assert bad.keys() == {examples[n].utt_id for n in spoken[:3]}
    assert "missing file" in bad[examples[spoken[0]].utt_id]
    read = [u for b in batches for u in b["utt_ids"]]
    assert len(read) == len(examples) - 3


def test_micro_batch_with_nothing_left_is_a_row_without_labels(corpus, tmp_path):
    example = dataclasses.replace(corpus.examples[0], audio=str(tmp_path / "none.wav"))
    broken = Corpus(ExampleList([example]), corpus.prompts, corpus.chat, speech_lengths)
    ((batch, empty),) = epoch(PhaseData(broken, None, BatchConfig(size=1), accum=2))
    for b in (batch, empty):
        assert b["input_ids"].shape == (1, 1)
        assert b["labels"].tolist() == [[IGNORE]]
        assert b["utt_ids"] == []
    assert len(batch["bad"]) == 1


def test_padding_is_counted(corpus):
    for (batch,) in epoch(PhaseData(corpus, None, BatchConfig(size=5))):
        count = batch["padding"]
        assert count["llm_padded"] >= count["llm"] > 0
        assert count["encoder_padded"] >= count["encoder"]


def test_a_search_for_garbage_in_a_worker_copies_nothing_of_what_it_shares(corpus, monkeypatch):
    def start(_: int) -> None:
        assert (
            gc.get_freeze_count() > 10_000
        )  # of what had been imported; objects that gc passes over

    monkeypatch.setattr(dataset, "_start_worker", start)
    data = PhaseData(corpus, None, BatchConfig(size=2), num_workers=1, start_method="fork")
    assert list(data.loader(Heard.nothing(len(corpus.examples)), DataPosition(), 1))
    assert gc.get_freeze_count() == 0


def test_dataset_travels_to_a_spawned_worker(corpus):
    dataset = RowDataset(corpus, 0)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy[np.array([0]), 1]["utt_ids"] == dataset[np.array([0]), 1]["utt_ids"]


def test_cached_encoder_output_in_place_of_audio(corpus, tmp_path):
    import kaldiio

    ark, scp = tmp_path / "f.ark", tmp_path / "f.scp"
    matrices = {}
    with kaldiio.WriteHelper(f"ark,scp:{ark},{scp}") as write:
        for n, example in enumerate(corpus.examples):
            if example.audio:
                frames = int(corpus.frames(np.array([n]))[0][0])
                matrices[example.utt_id] = np.random.randn(frames, 4).astype(np.float32)
                write(example.utt_id, matrices[example.utt_id])
    feats = dict(line.split(" ") for line in scp.read_text().splitlines())
    examples = [dataclasses.replace(e, feats=feats.get(e.utt_id)) for e in corpus.examples]
    cached = Corpus(ExampleList(examples), corpus.prompts, corpus.chat, speech_lengths)
    for (batch,) in epoch(PhaseData(cached, None, BatchConfig(size=4))):
        assert "speech" not in batch
        for clip, row in enumerate(batch.get("speech_row", [])):
            matrix = matrices[batch["utt_ids"][row]]
            assert batch["encoder_out_lengths"][clip] == len(matrix)
            np.testing.assert_array_equal(batch["encoder_out"][clip, : len(matrix)], matrix)
    with pytest.raises(ConfigError, match="cached encoder output is missing"):
        Corpus(
            ExampleList([examples[0], corpus.examples[1]]),
            corpus.prompts,
            corpus.chat,
            speech_lengths,
        )


def test_cached_encoder_output_of_another_length_is_named(corpus, tmp_path):
    import kaldiio

    example = corpus.examples[0]
    frames = int(corpus.frames(np.array([0]))[0][0])
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/f.ark,{tmp_path}/f.scp") as write:
        write(example.utt_id, np.zeros((frames + 3, 4), dtype=np.float32))
    feats = (tmp_path / "f.scp").read_text().split()[1]
    cached = Corpus(
        ExampleList([dataclasses.replace(example, feats=feats)]),
        corpus.prompts,
        corpus.chat,
        speech_lengths,
    )
    ((batch,),) = epoch(PhaseData(cached, None, BatchConfig(size=1)))
    ((utt, reason),) = batch["bad"]
    assert utt == example.utt_id
    assert reason.startswith(f"{frames + 3} frames of cached encoder output")


def test_unknown_length_is_a_clear_error(corpus):
    example = dataclasses.replace(corpus.examples[0], num_samples=None)
    with pytest.raises(DataError, match="run part_format_data"):
        Corpus(ExampleList([example]), corpus.prompts, corpus.chat, speech_lengths)


def test_lengths_bill_the_longest_wording(corpus):
    everything = np.arange(len(corpus.examples))
    llm, speech = corpus.lengths(everything).llm, corpus.frames(everything)[1]
    for number in range(4):
        for n, example in enumerate(corpus.examples):
            wording = corpus.prompts.choose(example, 0, number)
            tokens = corpus.chat.encode(corpus.prompts.render(example, wording), example.text)
            real = sum(map(len, (tokens.prefix_ids, tokens.suffix_ids, tokens.answer_ids)))
            assert real + speech[n] <= llm[n]


def test_token_counts_file(corpus, tmp_path):
    prompt, answer = count_tokens(corpus.examples, corpus.prompts, corpus.chat)
    path = tmp_path / "text_tokens"
    with writing_token_counts(path) as add:
        add(corpus.examples, prompt, answer)
    known = read_token_counts(path)
    again = count_tokens(corpus.examples, corpus.prompts, corpus.chat, known)
    np.testing.assert_array_equal(again, (prompt, answer))
    wrong = {utt: (p + 1, a) for utt, (p, a) in known.items()}
    with pytest.raises(DataError, match="other prompts or another tokenizer"):
        count_tokens(corpus.examples, corpus.prompts, corpus.chat, wrong)
    path.write_text("a 1\n")
    with pytest.raises(DataError, match="not of the form"):
        read_token_counts(path)


def test_phase_without_data(corpus):
    only_text = [e for e in corpus.examples if e.task == "t2tt"]
    small = Corpus(ExampleList(only_text), corpus.prompts, corpus.chat, speech_lengths)
    with pytest.raises(ConfigError, match=r"stage1.yaml: adapter: tasks: no data for asr"):
        PhaseData(small, {"asr": 1.0}, BatchConfig(size=4), where="stage1.yaml: adapter")


@pytest.fixture(scope="module")
def uneven(tokenizer) -> Corpus:
    """ASR in three languages of 1800, 180 and 30 clips of 0.5 to 12 s, and text."""
    rng = np.random.default_rng(0)
    examples = [
        Example(
            f"{lang}{n}", "asr", lang, lang, "the dog", audio="none.wav", num_samples=int(samples)
        )
        for lang, size in (("de", 1800), ("is", 180), ("ta", 30))
        for n, samples in enumerate(rng.integers(8000, 192_000, size))
    ] + [Example(f"t{n}", "t2tt", "de", "en", "the dog " * (n % 9 + 1), "Hund") for n in range(200)]
    prompts = Prompts.load("conf/prompts.yaml")
    return Corpus(ExampleList(examples), prompts, ChatFormat(tokenizer), speech_lengths)


LIMITED = {"temperature": 1.5, "limits": Limits({"*": 40, "ta": 4}, {"is": 0.2}), "steps": 300}


def heard_in(data: PhaseData) -> np.ndarray:
    """How often the phase's steps hold each example."""
    times = np.zeros(len(data.corpus.examples), dtype=int)
    heard = Heard.nothing(len(times))
    for _, _, step in data.steps(heard, DataPosition(heard.pools), data.phase_steps):
        np.add.at(times, step, 1)
    return times


@pytest.mark.parametrize("size", [{"bins": 6000}, {"size": 20}, {"bins": 6000, "size": 12}])
def test_a_phase_hears_what_its_limits_allow_and_its_table_expects(uneven, size):
    tasks = {"asr": 0.9, "t2tt": 0.1}
    data = PhaseData(uneven, tasks, BatchConfig(**size), **LIMITED)
    times, expected = heard_in(data), data.expected("phase")
    strata = uneven.examples.strata
    ta, iceland = strata["asr", "ta", "ta"], strata["asr", "is", "is"]
    assert times[ta].min() >= 3 and times[ta].max() <= 4
    asr = sum(times[strata[s]].sum() for s in strata if s[0] == "asr")
    assert times[iceland].sum() == pytest.approx(0.2 * asr, rel=0.01)
    assert asr == pytest.approx(0.9 * times.sum(), rel=0.01)
    assert expected.examples == pytest.approx(times.sum(), rel=0.03)
    assert expected.bound == {("asr", "ta", "ta"): "max_epochs", ("asr", "is", "is"): "min_share"}
    for stratum, members in strata.items():
        found = expected.heard([stratum])
        assert found.examples == pytest.approx(times[members].sum(), rel=0.05)
        hours = (times[members] * uneven.examples.samples[members]).sum() / 16000 / 3600
        assert found.hours == pytest.approx(hours, rel=0.05)


def test_limited_shares_do_not_depend_on_processes_nor_on_micro_batches(uneven):
    alone = PhaseData(uneven, ["asr"], BatchConfig(bins=6000), **LIMITED)
    for changed in ({"world": 4, "rank": 3}, {"accum": 3}, {"num_workers": 2}):
        other = PhaseData(uneven, ["asr"], BatchConfig(bins=6000), **LIMITED, **changed)
        assert other.mixture.shares == alone.mixture.shares
    small = PhaseData(uneven, ["asr"], BatchConfig(bins=6000, bins_per_gpu=500), **LIMITED)
    assert small.mixture.shares == alone.mixture.shares


def test_epochs_of_a_phase_are_cut_to_the_letter(uneven):
    options = {"epochs": 5, "temperature": 1e9, "limits": Limits(max_epochs=8)}
    data = PhaseData(uneven, ["asr"], BatchConfig(size=10), **options)
    heard = Heard.nothing(len(uneven.examples))
    count = data.steps_in_epochs(heard, 5)
    times = np.zeros(len(uneven.examples), dtype=int)
    for _, _, step in data.steps(heard, DataPosition(), count):
        np.add.at(times, step, 1)
    strata = uneven.examples.strata
    for lang in ("is", "ta"):
        assert set(times[strata["asr", lang, lang]]) == {8}
    assert times.sum() == 5 * 2010
    assert data.expected("phase").examples == 5 * 2010


def test_limits_too_loose_to_matter_leave_every_step_as_it_is(uneven):
    def steps(**options):
        data = PhaseData(uneven, ["asr", "t2tt"], BatchConfig(bins=6000), steps=80, **options)
        heard = Heard.nothing(len(uneven.examples))
        return [step.tolist() for _, _, step in data.steps(heard, DataPosition(), 80)]

    assert steps(limits=Limits(1e6, 1e-9)) == steps()


def test_limits_that_the_phase_is_too_long_for_are_refused(uneven):
    with pytest.raises(
        ConfigError, match=r"stage\.yaml: phase a: max_epochs: allows 4,020 examples"
    ):
        limits = Limits(max_epochs=2)
        where = "stage.yaml: phase a"
        PhaseData(uneven, ["asr"], BatchConfig(size=10), steps=900, limits=limits, where=where)
