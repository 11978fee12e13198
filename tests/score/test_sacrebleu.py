"""BLEU and chrF++ equal the `sacrebleu` command's, with its signatures, for each tokenizer."""

import json
import subprocess
import sys

import pytest

from espnet_part.score.bleu import score_translations

TEXTS = {
    "13a": [
        ("The house is small, isn't it?", "The house is little, isn't it?"),
        ("We saw two dogs in the garden.", "we saw 2 dogs in a garden ."),
        ("He said: “No!”", ""),
    ],
    "zh": [("今天天气很好，我们去公园。", "今天天氣好，我们去公园吧。"), ("你好。", "您好。")],
    "ja-mecab": [("今日は学校へ行きます。", "今日は学校に行く。"), ("水を飲む。", "水を飲む。")],
    "ko-mecab": [("안녕하세요 여러분 반갑습니다.", "안녕 여러분 반갑습니다."), ("물.", "물을.")],
}


@pytest.mark.parametrize("tokenizer", TEXTS)
def test_equals_the_command(tokenizer, tmp_path):
    references, hypotheses = (list(side) for side in zip(*TEXTS[tokenizer], strict=True))
    for name, lines in (("ref", references), ("hyp", hypotheses)):
        (tmp_path / name).write_text("".join(f"{x}\n" for x in lines), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "sacrebleu",
        str(tmp_path / "ref"),
        "-i",
        str(tmp_path / "hyp"),
    ]
    command += ["-tok", tokenizer, "-m", "bleu", "chrf", "-w", "12"]
    found = {}
    for order in ("0", "2"):
        output = subprocess.run(
            [*command, "--chrf-word-order", order], capture_output=True, text=True, check=True
        )
        for entry in json.loads(output.stdout):
            found[entry["name"]] = entry["score"], entry["signature"]
    score = score_translations(references, hypotheses, tokenizer)
    ours = {
        "BLEU": (score.bleu, score.bleu_signature),
        "chrF2": (score.chrf, score.chrf_signature),
        "chrF2++": (score.chrf_plus, score.chrf_plus_signature),
    }
    assert found.keys() == ours.keys()
    for name, (value, signature) in found.items():
        assert ours[name][0] == pytest.approx(value, abs=1e-11)
        assert ours[name][1] == signature
