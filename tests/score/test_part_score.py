"""part_score: what it reads, prints and writes; joining of shards."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from espnet_part.bin.part_format_data import main as format_data
from espnet_part.bin.part_score import main
from espnet_part.data.datadir import DataDir, Example
from espnet_part.errors import DataError
from espnet_part.score.decoded import collect_hypotheses
from tests.data.conftest import tone
from tests.score.conftest import EXAMPLES, HYPOTHESES


def _shard(directory, number, lines):
    path = directory / f"logdir/output.{number}/1best_recog/text"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_shards_are_joined_in_order_of_ids(tmp_path):
    _shard(tmp_path, 2, ["b two", "a one"])
    _shard(tmp_path, 10, ["c", "a one"])
    (tmp_path / "text").write_text("old stale\n")
    assert list(collect_hypotheses(tmp_path).items()) == [("a", "one"), ("b", "two"), ("c", "")]


def test_contradicting_shards_are_refused(tmp_path):
    _shard(tmp_path, 1, ["a one"])
    _shard(tmp_path, 2, ["a other"])
    with pytest.raises(DataError, match=r"a: different hypotheses in .*earlier decoding"):
        collect_hypotheses(tmp_path)


def test_command(data, tmp_path, capsys):
    decode = tmp_path / "decode" / "test"
    _shard(decode, 1, [f"{k} {v}" for k, v in HYPOTHESES.items() if k != "de1"])
    (decode / "logdir/output.1/failed.tsv").write_text("de1\tbad audio\n")
    main(["--ref_dir", str(data), "--hyp_dir", str(decode)])
    content = json.loads((decode / "score.json").read_text())
    assert content["failed"] == {"de1": "bad audio"} and content["missing"] == ["de1"]
    assert content["name"] == "decode/test"
    assert (decode / "text").read_text(encoding="utf-8").startswith("de2 guten tag feld\n")
    out, err = capsys.readouterr()
    assert out == (decode / "result.md").read_text() and "NO HYPOTHESIS" in err
    assert out.startswith("## decode/test\n\n### ") and "\n|test|de|" in out
    main(["--ref_dir", str(data), "--hyp_text", str(decode / "text"), "--out_dir", str(tmp_path)])
    assert json.loads((tmp_path / "score.json").read_text())["bleu"] == content["bleu"]
    capsys.readouterr()
    main(["--ref_dir", str(data), "--hyp_dir", str(decode), "--name", "my system"])
    assert capsys.readouterr().out == out.replace("## decode/test\n", "## my system\n")


def test_command_names_what_is_missing(data, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--ref_dir", str(data), "--hyp_dir", str(tmp_path)])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("part_score: error: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cer_langs", "german"], "no code of a language: german; did you mean `de`?"),
        (["--fs", "0"], "argument --fs: must be a whole number of at least 1: 0"),
        (["--nj", "-3"], "argument --nj: must be a whole number of at least 1: -3"),
    ],
)
def test_impossible_options_are_told(data, tmp_path, capsys, options, said):
    with pytest.raises(SystemExit) as stopped:
        main(["--ref_dir", str(data), "--hyp_text", "x", *options])
    assert stopped.value.code != 0
    assert capsys.readouterr().err.splitlines()[-1].endswith(said)


def test_hypotheses_of_another_test_set_are_refused(data, tmp_path, capsys):
    (tmp_path / "text").write_text("other-1 a word\nother-2 more\n")
    with pytest.raises(SystemExit):
        main(["--ref_dir", str(data), "--hyp_text", str(tmp_path / "text")])
    assert "no id of its 2 hypotheses is one of" in capsys.readouterr().err
    assert not (tmp_path / "score.json").exists()


def test_scoring_imports_no_torch():
    code = (
        "import sys, espnet_part.score.score_tables, espnet_part.score.decoded;"
        "import espnet_part.bin.part_score;"
        "heavy = {'torch', 'transformers', 'sacrebleu', 'jiwer', 'espnet2'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_table_says_what_it_rests_on(data, tmp_path, capsys):
    corpus = [{"corpus": "FLEURS", "release": "2022", "split": "test"}]
    (data / "corpus.json").write_text(json.dumps(corpus))
    (data / "utt2num_samples").write_text("".join(f"{utt} 16000\n" for utt in EXAMPLES))
    decode = tmp_path / "decode" / "test"
    _shard(decode, 1, [f"{k} {v}" for k, v in HYPOTHESES.items() if k != "de1"])
    settings = {"model": "0123456789abcdef", "beam_size": 4, "length_penalty": 1.0}
    (decode / "logdir/output.1/decode.json").write_text(json.dumps(settings))
    (tmp_path / "score.yaml").write_text("bootstrap: {samples: 100, seed: 3}\n")
    command = [
        "--ref_dir",
        str(data),
        "--hyp_dir",
        str(decode),
        "--checkpoint",
        "exp/x.safetensors",
    ]
    main([*command, "--config", str(tmp_path / "score.yaml"), "--cer_langs", "zh"])
    text = capsys.readouterr().out
    for line in (
        "- **test: 1 of 9 utterances have NO HYPOTHESIS and count as empty: de1**",
        "- test: FLEURS (2022) test, 9 utterances, 1 of them missing",
        "- test: decoded with `exp/x.safetensors` (fingerprint 0123456789ab)",
        "- test: decoding options: beam_size 4, length_penalty 1.0",
        "- 95 % intervals: percentile bootstrap over the utterances of each language, 100 samples,",
        "- CER for zh, WER for the others",
        "- BLEU `nrefs:1|case:mixed|eff:no|tok:13a|",
        "- chrF++ `nrefs:1|case:mixed|eff:yes|nc:6|nw:2|",
        "- scored by espnet_part ",
    ):
        assert line in text
    content = json.loads((decode / "score.json").read_text())
    assert content["corpus"] == corpus
    assert content["checkpoint"] == {"file": "exp/x.safetensors", "model": "0123456789abcdef"}
    assert content["decode_options"] == {"beam_size": 4, "length_penalty": 1.0}
    assert content["hallucinations"]["groups"][0]["longer_than_speech"] == 0
    suspects = (decode / "hallucinations.tsv").read_text(encoding="utf-8").splitlines()
    assert suspects[1:] == []
    lines = (decode / "score_wer/ref.trn").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "das ist gut\t(de-de1)"
    assert (decode / "score_wer/hyp.trn").read_text(encoding="utf-8").startswith("\t(de-de1)\n")
    lines = (decode / "score_cer/hyp.trn").read_text(encoding="utf-8").splitlines()
    assert lines == ["你 好 世 届\t(zh-zh1)"]


def test_another_programs_decoding_is_told_by_options(data, tmp_path, capsys):
    (tmp_path / "hyp").write_text("".join(f"{k} {v}\n" for k, v in HYPOTHESES.items()), "utf-8")
    (tmp_path / "decode.yaml").write_text("beam_size: 10\nctc_weight: 0.3\n")
    command = ["--ref_dir", str(data), "--hyp_text", str(tmp_path / "hyp"), "--name", "asr_x"]
    command += ["--checkpoint", "exp/asr_x/valid.acc.ave.pth"]
    main([*command, "--decode_config", str(tmp_path / "decode.yaml")])
    text = capsys.readouterr().out
    assert text.startswith("## asr_x\n")
    assert "- test: decoded with `exp/asr_x/valid.acc.ave.pth`\n" in text
    assert "- test: decoding options: beam_size 10, ctc_weight 0.3\n" in text


def test_silence_goes_from_data_to_the_table(tmp_path, capsys):
    """Nobody speaks, so the reference is empty: it is kept, and what was heard counts."""
    for name, samples in (("speech", tone(1.0)), ("silence", np.zeros(16000, np.float32))):
        soundfile.write(tmp_path / f"{name}.wav", samples, 16000)
    texts = {"speech": "ein hund", "silence": ""}
    DataDir.write(
        tmp_path / "data",
        [
            Example(name, "asr", "de", "de", text, audio=str(tmp_path / f"{name}.wav"))
            for name, text in texts.items()
        ],
    )
    format_data(["--in_dir", str(tmp_path / "data"), "--out_dir", str(tmp_path / "dump")])
    kept, faults = DataDir.load(tmp_path / "dump", need_text=False)  # as decoding does
    assert {e.utt_id: e.text for e in kept} == texts
    assert not faults
    decode = tmp_path / "decode"
    _shard(decode, 1, ["silence thank you", "speech ein hund"])
    capsys.readouterr()
    main(["--ref_dir", str(tmp_path / "data"), "--hyp_dir", str(decode)])
    row = next(line for line in capsys.readouterr().out.splitlines() if "|de|" in line)
    # dataset, language, sentences, words, correct, substitutions, deletions, insertions, errors
    assert row.split("|")[2:10] == ["de", "2", "2", "100.0", "0.0", "0.0", "100.0", "100.0"]
