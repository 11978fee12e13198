"""Whisper as a whole: what it is asked, against transformers' own call for each utterance alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from espnet_part.baseline.whisper import Whisper, can_do, main
from espnet_part.data.datadir import DataDir, Example
from espnet_part.kaldi import read_table
from tests.decode.conftest import RATE, make_speech

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>"]
SPECIAL += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
SPECIAL += ["<|nospeech|>", "<|notimestamps|>", *(f"<|{n / 50:.2f}|>" for n in range(1501))]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Whisper model in transformers' own files."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizerFast,
    )

    path = tmp_path_factory.mktemp("whisper")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    fast: Any = WhisperTokenizerFast
    fast(tokenizer_object=tokenizer).save_pretrained(path)
    WhisperFeatureExtractor(feature_size=16).save_pretrained(path)
    number = {token: tokenizer.token_to_id(token) for token in SPECIAL}
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=16,
        init_std=1.0,
        decoder_start_token_id=number["<|startoftranscript|>"],
        eos_token_id=number["<|endoftext|>"],
        bos_token_id=number["<|endoftext|>"],
        pad_token_id=number["<|endoftext|>"],
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        max_length=24,
        is_multilingual=True,
        lang_to_id={token: number[token] for token in ("<|en|>", "<|de|>")},
        task_to_id={task: number[f"<|{task}|>"] for task in ("translate", "transcribe")},
        no_timestamps_token_id=number["<|notimestamps|>"],
        suppress_tokens=[n for token, n in number.items() if token != "<|endoftext|>"],
    )
    model.save_pretrained(path)
    return path


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    examples = []
    for number, seconds in enumerate((0.4, 1.7, 0.9)):
        speech = make_speech(seconds, number)
        audio = str(tmp_path / f"{number}.wav")
        soundfile.write(audio, speech, RATE, subtype="FLOAT")
        for utt, task, tgt in (("a", "asr", "de"), ("e", "s2tt", "en"), ("f", "s2tt", "fr")):
            heard = {"audio": audio, "num_samples": len(speech)}
            examples.append(Example(f"{utt}{number}", task, "de", tgt, "text", **heard))  # type: ignore[arg-type]
    examples.append(Example("t", "t2tt", "de", "en", "text", "Text"))
    DataDir.write(tmp_path / "data", examples)
    return tmp_path / "data"


def test_batches_are_what_transformers_gives_alone(whisper: Path, data_dir: Path) -> None:
    decoder = Whisper(str(whisper))
    examples = [example for example in DataDir.load(data_dir)[0] if can_do(example)]
    assert [example.utt_id for example in examples] == ["a0", "a1", "a2", "e0", "e1", "e2"]
    rows = [decoder.prepare(example) for example in examples]
    found = [best[0].text for best in decoder.decode_rows(rows)]
    for row, text in zip(rows, found, strict=True):
        features = decoder.processor(row.speech, sampling_rate=RATE, return_tensors="pt")
        task = "transcribe" if row.example.task == "asr" else "translate"
        ids = decoder.model.generate(features.input_features, language="de", task=task)
        assert text == decoder.processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
    assert len(set(found)) > 3  # else anything would pass


def test_from_a_data_directory_to_scores(
    whisper: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from espnet_part.bin.part_score import main as score

    out = tmp_path / "exp/whisper/decode_greedy/test"
    command = ["--model", str(whisper), "--data_dir", str(data_dir), "--output_dir", str(out)]
    main(command)
    texts = read_table(out / "logdir/output.1/1best_recog/text")
    assert set(texts) == {"a0", "a1", "a2", "e0", "e1", "e2"}
    score(["--ref_dir", str(out / "data"), "--hyp_dir", str(out)])
    scores = json.loads((out / "score.json").read_text())
    assert not scores["missing"] and list(scores["tasks"]["s2tt"]["bleu"]) == ["de-en"]

    before = (out / "logdir/output.1/hypotheses.jsonl").stat().st_mtime_ns
    main(command)  # decoded before
    assert (out / "logdir/output.1/hypotheses.jsonl").stat().st_mtime_ns == before
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(
            [
                "--model",
                str(tmp_path),
                "--data_dir",
                str(data_dir),
                "--output_dir",
                str(tmp_path / "x"),
            ]
        )
    error = capsys.readouterr().err
    assert "config.json" in error and error.count("\n") == 1
