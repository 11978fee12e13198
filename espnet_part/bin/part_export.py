"""Export a trained model's encoder, adapter and LLM, with LoRA merged."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from espnet_part.command import HelpFormatter, command, str2bool


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_export",
        description="Writes a trained model as directories that other programs load: OUT/llm (of "
        "transformers: AutoModelForCausalLM.from_pretrained), OUT/encoder (of transformers where it "
        "is Whisper), OUT/adapter (safetensors and its sizes), and a config.yaml with which "
        'Speech2Text.from_pretrained("OUT") loads all of it. With --format vllm it is one directory '
        "that `vllm serve OUT` loads, where espnet_part is installed beside vLLM (tools/setup_vllm.sh). "
        "LoRA is merged in float32, then cast to --dtype.",
        epilog="example: part_export --model exp/part --format vllm --out served",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="an experiment (exp/part), a packed zip or its directory, or owner/name of the hub; in "
        "place of the next two options",
    )
    parser.add_argument("--part_train_config", metavar="YAML", help="config.yaml of the training")
    parser.add_argument("--part_model_file", metavar="FILE", help="trained weights (safetensors)")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new directory")
    parser.add_argument(
        "--format",
        choices=("parts", "vllm"),
        default="parts",
        help="parts: a directory for each of encoder, adapter and LLM; vllm: one for vLLM's server",
    )
    parser.add_argument(
        "--merge_lora",
        type=str2bool,
        default=True,
        help="put LoRA into the LLM's weights; false keeps it beside the adapter",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="of the LLM's weights; by default the training's",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level="INFO", format="%(levelname)s: %(message)s")
    from espnet_part.errors import ConfigError
    from espnet_part.pack.locations import refuse_existing
    from espnet_part.pack.stored import choose_model

    if args.format == "vllm" and not args.merge_lora:
        raise ConfigError("--merge_lora false: for vLLM, LoRA is merged")
    # what is wrong is told before torch is loaded
    refuse_existing(Path(args.out))
    model = choose_model(args.model, args.part_train_config, args.part_model_file)

    if args.format == "vllm":
        from espnet_part.pack.vllm import export_for_vllm

        export_for_vllm(model.config, model.weights, Path(args.out), args.dtype)
    else:
        from espnet_part.pack.export import export

        export(model.config, model.weights, Path(args.out), args.merge_lora, args.dtype)
    files = sorted(path for path in Path(args.out).rglob("*") if path.is_file())
    print(f"{args.out}: {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")
    for path in files:
        print(f"  {path.relative_to(args.out)}")


if __name__ == "__main__":
    main()
