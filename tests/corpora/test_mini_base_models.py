"""Pretraining of the embedded corpus's encoder and LLM, two steps each."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from espnet_part.corpora.directory import finished_directory
from espnet_part.corpora.mini import base_models, pretrain_encoder, pretrain_llm
from espnet_part.corpora.mini.prepare import Options as CorpusOptions
from espnet_part.corpora.mini.prepare import prepare
from espnet_part.corpora.mini.text import Instruction, draw_instructions
from espnet_part.data.chat import ChatFormat
from espnet_part.data.prompts import Prompts
from espnet_part.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]
PROMPTS = str(ROOT / "conf" / "prompts.yaml")
LLM = pretrain_llm.Options(
    langs=("en", "de"), prompts=PROMPTS, steps=2, batch_size=4, dim=16, layers=1, heads=2, ff=16,
    vocabulary=400, evaluate=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mini") / "data"
    prepare(CorpusOptions(("en", "de"), 1, 1, 1, 1, 8), out, jobs=1)
    return out


@pytest.fixture(scope="module")
def encoder_options(data) -> pretrain_encoder.Options:
    return pretrain_encoder.Options(
        data=str(data), steps=2, batch_size=4, dim=16, layers=1, heads=2, ff=16
    )


@pytest.fixture(scope="module")
def llm(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("llm") / "llm"
    assert pretrain_llm.pretrain(LLM, out)
    return out


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, encoder_options) -> Path:
    out = tmp_path_factory.mktemp("encoder") / "encoder"
    assert pretrain_encoder.pretrain(encoder_options, out)
    return out


def weights(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def test_transformers_loads_the_llm(llm):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(llm)
    tokenizer = AutoTokenizer.from_pretrained(llm)
    assert model.config.model_type == "qwen2"
    chat = ChatFormat(tokenizer)
    assert tokenizer.convert_ids_to_tokens(chat.end_token_id) == "<|im_end|>"
    assert model.config.eos_token_id == chat.end_token_id
    for text in ("¿Dónde vende el tío la taza roja?", "Wo ist die größte Tür?", "老师今天买书。"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert model.config.rope_parameters["rope_theta"] == 10000.0


def test_its_results_are_written(llm):
    result = json.loads((llm / "pretraining.json").read_text())
    assert set(result["written"]["bleu"]) == {"en-de", "de-en"}
    assert set(result["spelled"]["copy"]) == {"en", "de"}
    assert result["cpu_seconds"] > 0


def test_pretraining_the_llm_is_deterministic_and_done_once(llm, tmp_path):
    assert not pretrain_llm.pretrain(LLM, llm)
    assert pretrain_llm.pretrain(LLM, tmp_path / "again")
    assert weights(tmp_path / "again") == weights(llm)
    tokenizers = [(path / "tokenizer.json").read_bytes() for path in (llm, tmp_path / "again")]
    assert tokenizers[0] == tokenizers[1]


def test_loss_is_the_answers_alone(llm):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(llm).eval()
    rows = [([5, 6, 7, 8], [9, 10, 1]), ([11, 12], [13, 1])]
    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 1], [11, 12, 13, 1, 0, 0, 0]])
    labels = torch.tensor([[-100] * 4 + [9, 10, 1], [-100, -100, 13, 1, -100, -100, -100]])
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss = pretrain_llm.answer_loss(model, rows, pad=0)
    torch.testing.assert_close(loss, expected)


def test_spelled_sources_stand_where_the_speech_will(llm):
    from transformers import AutoTokenizer

    encode = pretrain_llm.Encoder(AutoTokenizer.from_pretrained(llm), Prompts.load(PROMPTS))
    item = Instruction("s2tt", "de", "en", "Ja.", "Yes.", ("j", "j", "a"))
    prompt, answer = encode(item, 0)
    text = encode.tokenizer.decode(prompt)
    assert text.startswith("<|im_start|>user\njja\nTranslate the German speech into English.")
    assert encode.tokenizer.decode(answer) == "Yes.<|im_end|>"
    written = Instruction("asr", "de", "de", "Ja.", "Ja.")
    assert "user\nJa.\nTranscribe the German speech." in encode.tokenizer.decode(
        encode(written, 0)[0]
    )


def test_batches_are_as_many_as_the_steps():
    options = pretrain_llm.Options(langs=("en", "de"), steps=21, batch_size=4)
    rows = list(pretrain_llm.batches(options, lambda item, wording: ([1] * wording, [2])))
    assert len(rows) == 21 and all(len(batch) == 4 for batch in rows)


def test_draws_hold_all_kinds():
    kinds = {
        (item.task, item.lang, item.tgt)
        for item, _ in zip(
            draw_instructions(("en", "de"), 0, spelled=0.5), range(300), strict=False
        )
    }
    assert kinds == {
        ("asr", "en", "en"), ("asr", "de", "de"), ("s2tt", "en", "de"), ("s2tt", "de", "en"),
        ("t2tt", "en", "de"), ("t2tt", "de", "en"),
    }  # fmt: skip


def test_the_model_loads_the_encoder(encoder):
    from transformers import WhisperModel

    from espnet_part.model.encoders.whisper.conf import WhisperEncoderConf
    from espnet_part.model.encoders.whisper.module import WhisperEncoder

    ours = WhisperEncoder.from_conf(WhisperEncoderConf(name=str(encoder))).eval()
    assert (ours.dim, len(ours.layers)) == (16, 1)
    theirs = WhisperModel.from_pretrained(encoder).encoder
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor)
    with torch.no_grad():
        states, lengths = ours(torch.randn(1, 16000), torch.tensor([16000]))
    assert states.shape == (1, 50, 16) and lengths.tolist() == [50]


def test_pretraining_the_encoder_is_deterministic_and_done_once(encoder, encoder_options, tmp_path):
    assert not pretrain_encoder.pretrain(encoder_options, encoder)
    assert pretrain_encoder.pretrain(encoder_options, tmp_path / "again")
    assert weights(tmp_path / "again") == weights(encoder)
    result = json.loads((encoder / "pretraining.json").read_text())
    assert set(result["letter_error_rate"]) == {"en", "de"}


def test_encoder_without_clips(tmp_path):
    options = pretrain_encoder.Options(data=str(tmp_path / "none"), steps=1)
    with pytest.raises(DataError, match="encoder_train: cannot be used"):
        pretrain_encoder.pretrain(options, tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()


def test_encoder_batches_hold_every_clip_once_an_epoch():
    class Clip:
        def __init__(self, length: int) -> None:
            self.samples = range(length)

    clips = [Clip(random.Random(i).randrange(100)) for i in range(40)]
    options = pretrain_encoder.Options(steps=10, batch_size=4)
    seen = [clip for batch in pretrain_encoder.batches(clips, options) for clip in batch]
    assert sorted(map(id, seen)) == sorted(map(id, clips))


def test_a_directory_is_whole_or_not_there(tmp_path):
    out = tmp_path / "model"
    with pytest.raises(RuntimeError), finished_directory(out, {"a": 1}) as directory:
        (directory / "weights").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    for options, made in (({"a": 1}, True), ({"a": 1}, False), ({"a": 2}, True)):
        with finished_directory(out, options) as directory:
            assert (directory is not None) == made
            if directory:
                (directory / "weights").write_text(str(options))
    assert (out / "weights").read_text() == "{'a': 2}"
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").touch()
    with (
        pytest.raises(DataError, match="holds files that were not made here"),
        finished_directory(tmp_path / "foreign", {}),
    ):
        pass


def test_both_side_by_side(data, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(
        f"""
encoder: {{out: exp/encoder, data: {data}, steps: 50, batch_size: 4, dim: 16, layers: 1,
  heads: 2, ff: 16}}
llm: {{out: exp/llm, prompts: {PROMPTS}, steps: 50, batch_size: 4, dim: 16, layers: 1, heads: 2,
  ff: 16, vocabulary: 400, evaluate: 1}}
"""
    )
    command = ["--config", "base.yaml", "--langs", "en de"]
    base_models.main([*command, "--encoder_steps", "1", "--llm_steps", "1"])
    assert weights(Path("exp/encoder")) and weights(Path("exp/llm"))
    assert json.loads(Path("exp/llm/options.json").read_text())["steps"] == 1
    assert "letter_error_rate" in capfd.readouterr().out


def test_wrong_settings_are_named(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text("encoder: {out: e, step: 3}\nllm: {out: l}\n")
    with pytest.raises(ConfigError, match=r"encoder: unknown key `step`; did you mean `steps`"):
        base_models.commands(str(path), {})
    path.write_text("encoder: {out: e}\n")
    with pytest.raises(ConfigError, match="llm: must be a mapping with the key `out`"):
        base_models.commands(str(path), {})


def test_a_failure_ends_the_other(tmp_path):
    import sys

    lines = {
        "bad": [sys.executable, "-c", "raise SystemExit(3)"],
        "slow": [sys.executable, "-c", "import time; time.sleep(3600)"],
    }
    with pytest.raises(DataError, match="pretraining the bad failed with status 3"):
        base_models.run(lines)


def test_the_recipes_own_settings_are_valid():
    conf = ROOT / "egs2" / "mini_multilingual" / "part" / "conf"
    lines = base_models.commands(str(conf / "base_models.yaml"), {"llm": {"langs": "en de es"}})
    for section, module in base_models.MODULES.items():
        module.get_parser().parse_args(lines[section][3:])
    from espnet_part.config import load_yaml
    from espnet_part.model.config import ModelConfig

    model = ModelConfig.from_mapping(load_yaml(conf / "model.yaml"), "model.yaml")
    assert model.encoder_conf.name == lines["encoder"][lines["encoder"].index("--out") + 1]
    assert model.llm_conf.name == lines["llm"][lines["llm"].index("--out") + 1]


def test_the_head_dimension_is_one_that_serving_engines_take() -> None:
    from espnet_part.config import load_yaml

    path = ROOT / "egs2" / "mini_multilingual" / "part" / "conf" / "base_models.yaml"
    options = pretrain_llm.Options()
    llm = load_yaml(path)["llm"]
    for dim, heads in ((options.dim, options.heads), (llm["dim"], llm["heads"])):
        assert dim % heads == 0 and dim // heads % 32 == 0
