"""A recipe whose commands of stages 2 to 10 are small ones that note how they were called.

The launcher, espnet2.bin.launch, scoring and the report are the real ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "egs2/TEMPLATE/part"

STAND_IN = r"""
import hashlib, json, shutil, sys, uuid
from pathlib import Path

command, words = sys.argv[1].rsplit(".", 1)[1], sys.argv[2:]
options = dict(zip(words[::2], words[1::2]))
with open("calls.jsonl", "a") as file:
    file.write(json.dumps([command, options]) + "\n")
if Path("broken").is_file() and Path("broken").read_text() == command:
    sys.exit("this cannot work")
if command in ("part_format_data", "part_filter_data"):
    shutil.copytree(options["--in_dir"], options["--out_dir"], dirs_exist_ok=True)
    if options.get("--max_text_chars") == "1":  # nothing but the first example
        for table in Path(options["--out_dir"]).iterdir():
            table.write_text(table.read_text().splitlines()[0] + "\n")
elif command == "part_inference":
    out = Path(options["--output_dir"], "1best_recog")
    out.mkdir(parents=True, exist_ok=True)
    keys = Path(options["--key_file"]).read_text().split()
    texts = dict(line.split(maxsplit=1) for line in Path(options["--data_dir"], "text").open())
    (out / "text").write_text("".join(f"{key} {texts[key]}" for key in keys))
elif command == "part_train":
    for split in ("train", "valid"):
        assert Path(options[f"--{split}_shape_file"]).is_file()
    out = Path(options["--output_dir"])
    count = len(list(out.glob("started*")))
    (out / f"started{count}").touch()
    (out / "config.yaml").write_text("{}")
    part = json.dumps({"id": str(uuid.uuid4())})  # a file of weights without weights
    own = {"format": "espnet_part/2", "part": part}
    own["part_sha256"] = hashlib.sha256(part.encode()).hexdigest()
    header = json.dumps({"__metadata__": own}).encode()
    weights = len(header).to_bytes(8, "little") + header
    (out / "valid.acc.ave.safetensors").write_bytes(weights)
else:
    out = Path(options["--out_dir"])
    out.mkdir(parents=True, exist_ok=True)
    (out / "mixture.md").write_text("| the mixture |\n")
    line = {"task": "asr", "lang": "de", "tgt": "de", "utterances": 5, "hours": 0.1}
    (out / "mixture.json").write_text(
        json.dumps([{**line, "prompt_tokens": 50, "answer_tokens": 20}])
    )
    (out / "text_tokens").write_text("")
    (out / "feats.scp").write_text("")
"""
DATA = r"""#!/usr/bin/env bash
set -euo pipefail
echo "data $*" >>data_calls
for dset in train dev test2 test3; do
    mkdir -p "data/$dset"
    for n in 1 2 3 4 5; do echo "u$n-asr guten Tag $n"; done >"data/$dset/text"
    for n in 1 2 3 4 5; do echo "u$n-asr asr"; done >"data/$dset/utt2task"
    for n in 1 2 3 4 5; do echo "u$n-asr de"; done >"data/$dset/utt2lang"
    cp "data/$dset/utt2lang" "data/$dset/utt2tgt"
done
"""
MODEL = """
encoder_conf: {config: {d_model: 48}}
llm_conf: {config: {model_type: qwen2}, tokenizer: t}
prompts: conf/prompts.yaml
"""


def stage(steps: int) -> str:
    """A stage file with one phase."""
    phase = "{name: all, train: [adapter], lr: {adapter: 1.0e-3}, tasks: [asr], steps: %d}"
    return f"phases: [{phase % steps}]\n"


class Recipe:
    """A recipe whose commands are stand-ins, in a directory with a space in its name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "local").mkdir(parents=True)
        for name in ("part.sh", "path.sh", "cmd.sh", "utils"):
            (directory / name).symlink_to(TEMPLATE / name)
        stand_in = directory / "stand_in.py"
        stand_in.write_text(STAND_IN)
        self.python = directory / "python"
        self.script(
            self.python,
            "#!/usr/bin/env bash\n"
            'case "$*" in "-m espnet_part.bin.part_score"* | "-m espnet_part.bin.part_report"*) ;;\n'
            f'"-m espnet_part.bin."*) shift; exec {sys.executable} "{stand_in}" "$@" ;; esac\n'
            f'exec {sys.executable} "$@"\n',
        )
        self.script(directory / "local/data.sh", DATA)
        self.script(
            directory / "local/base_models.sh", "#!/usr/bin/env bash\necho base >>base_calls\n"
        )
        (directory / "conf/my system").mkdir(parents=True)
        (directory / "conf/model.yaml").write_text(MODEL)
        (directory / "conf/prompts.yaml").symlink_to(ROOT / "conf/prompts.yaml")
        for n in (1, 2, 3):
            (directory / f"conf/my system/stage{n}.yaml").write_text(stage(10))

    @staticmethod
    def script(path: Path, content: str) -> None:
        path.write_text(content)
        path.chmod(0o755)

    def run(self, *options: str, fails: bool = False) -> str:
        """Run part.sh and return what it prints."""
        running = self.start(*options)
        printed = running.communicate(timeout=600)[0]
        assert (running.returncode != 0) == fails, printed
        return printed

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start part.sh."""
        own = ["--ngpu", "0", "--valid_set", "dev", "--test_sets", "test2", "--nj", "2"]
        own += ["--model_config", "conf/model.yaml", "--part_config", "conf/my system"]
        own += ["--inference_nj", "2", "--python", str(self.python)]
        return subprocess.Popen(
            ["./part.sh", *own, *options],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def calls(self) -> list[tuple[str, dict[str, str]]]:
        """The stand-ins' calls since the last time this was asked."""
        path = self.directory / "calls.jsonl"
        if not path.exists():
            return []
        calls = [tuple(json.loads(line)) for line in path.read_text().splitlines()]
        path.unlink()
        return calls

    def names(self) -> list[str]:
        return [name.removeprefix("part_") for name, _ in self.calls()]
