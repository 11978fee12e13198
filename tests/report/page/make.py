"""A small recipe with hostile names and texts, as its stages would have left it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

from espnet_part.score.scoring import score_directory

LONG = "Donaudampfschiffahrt" * 40
EVIL = "<script>document.title='broken'</script>"
TITLE = f'Results & "quotes" {EVIL}'
SYSTEM = "part<b>&'x"
TEXTS = {
    f"a{EVIL.replace(' ', '')}": ("asr", "de", "de", "eins zwei drei vier fünf"),
    "b-zh": ("asr", "zh", "zh", "你好世界"),
    "c-ar": ("asr", "ar", "ar", "مرحبا بالعالم"),
    "d-st": ("s2tt", "de", "en", f"one two {LONG} three"),
    "e-mt": ("t2tt", "de", "en", "one two three"),
}
FIRST, ZH, AR, ST, MT = TEXTS
WRONG = {
    FIRST: "eins \u202ezwei\u202c <img src=x onerror=\"document.title='broken'\"> vier fünf",
    ZH: "你世界们",
    ST: "one\x1b[31m two &amp; three",
    MT: "one two three",
}
"""Hypotheses of the first system; it has none for `AR`."""


def write_table(path: Path, values: dict[str, str]) -> None:
    path.write_text("".join(f"{name} {text}\n" for name, text in sorted(values.items())))


def make_data(directory: Path) -> None:
    """A data directory with two seconds of audio an utterance of speech."""
    directory.mkdir(parents=True)
    for number, name in enumerate(("utt2task", "utt2lang", "utt2tgt", "text")):
        write_table(directory / name, {key: values[number] for key, values in TEXTS.items()})
    speech = [key for key, values in TEXTS.items() if values[0] != "t2tt"]
    tone = 0.1 * np.sin(np.arange(32000) * 0.1)
    soundfile.write(directory / "tone.wav", tone, 16000)
    # relative to the recipe's directory, as recipes write them
    where = directory.relative_to(directory.parents[1]) / "tone.wav"
    write_table(directory / "wav.scp", dict.fromkeys(speech, str(where)))
    write_table(directory / "utt2num_samples", dict.fromkeys(speech, "32000"))
    write_table(directory / "src_text", {ST: f"eins {EVIL}", MT: "eins zwei drei"})
    (directory / "bad_audio.tsv").write_text(f"x\tempty file\ny\t{EVIL}\nz\tempty file\n")


def make_scores(directory: Path, reference: Path, hypotheses: dict[str, str]) -> None:
    directory.mkdir(parents=True)
    write_table(directory / "text", hypotheses)
    scores = score_directory(reference, hypotheses).as_dict()
    scores |= {"ref_dir": f"data/{reference.name}", "hypotheses": str(directory)}
    (directory / "score.json").write_text(json.dumps(scores))


def make_training(directory: Path, phases: str, lengths: dict[str, int]) -> None:
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(f"seed: 1\ntrain_data_dir:\n- data/train\n{phases}")
    step, lines = 0, []
    for phase, length in lengths.items():
        for _ in range(2):
            step += length // 2
            train = {"loss": 10 / step, "acc": 0.5, "train_time": 0.5, "padding_share": 0.04}
            train |= {"tokens": 100.0, "audio_seconds": 30.0}
            line = {"phase": phase, "step": step, "train": train, "valid": {"loss": 12 / step}}
            line |= {"seconds": 1.0 * step, "memory": {"process": 2.5}}
            lines.append(json.dumps(line) + "\n")
    (directory / "history.jsonl").write_text("".join(lines))


STAGE1 = """phases:
- {name: adapter, train: [adapter], lr: {adapter: 1.0e-3}, tasks: [asr], steps: 20}
"""
STAGE2 = """phases:
- name: "$top$ <script>"
  train: [adapter, "encoder.layers[-2:]"]
  lr: {adapter: 1.0e-3, encoder: 1.0e-4}
  tasks: {asr: 3, s2tt: 1}
  epochs: 2
- {name: joint, train: [llm.lora, encoder], lr: {llm: 1.0e-3, encoder: 1.0e-4}, tasks: [asr, s2tt], steps: 40}
"""


def make_recipe(root: Path) -> list[str]:
    """Fill a directory, and return what part_report is to be called with, in that directory."""
    make_data(root / "data/test")
    make_data(root / "data/train")
    first, second = root / "exp/part/decode/test", root / "exp/other/decode/test"
    make_scores(first, root / "data/test", WRONG)
    make_scores(second, root / "data/test", {key: values[3] for key, values in TEXTS.items()})
    make_training(root / "exp/part/stage1", STAGE1, {"adapter": 20})
    make_training(root / "exp/part/stage2", STAGE2, {"$top$ <script>": 30, "joint": 40})
    analysis = root / "exp/analysis"
    analysis.mkdir()
    entry = {"title": f"Similarity {EVIL}", "caption": 'a "caption"', "picture": "a.png"}
    (analysis / "analysis.json").write_text(json.dumps([entry | {"table": "a.tsv"}]))
    (analysis / "a.tsv").write_text(f"layer\tvalue\n1\t{EVIL}\n")
    from espnet_part.report.figure import new_figure, save

    save(new_figure(1, 1, figsize=(3, 2))[0], analysis / "a.png")
    trainings = "exp/part/stage1,exp/part/stage2"
    return [
        *("--system", f"{SYSTEM}=exp/part/decode", "--system", "other=exp/other/decode"),
        *("--train", f"{SYSTEM}={trainings}", "--title", TITLE, "--note", f"A *note* {EVIL}"),
    ]
