"""The options of ``part_pack``. Imports no torch, so that a recipe tells wrong ones at once."""

from __future__ import annotations

import argparse

from espnet_part.command import HelpFormatter, str2bool


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_pack",
        description="Packs a trained model into one zip, which somebody else loads with "
        'Speech2Text.from_pretrained("model.zip") or through ESPnet\'s model zoo: configuration, '
        "trained weights, prompts, tokenizer, model card, results. The base models are named with "
        "their revisions, or are inside with --with_base_models true. With --hf_repo, uploads it "
        "to the Hugging Face hub.",
        epilog="example: part_pack --model exp/part --outpath part.zip --results exp/RESULTS.md",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--model",
        metavar="DIR",
        help="an experiment (its last stage counts), or a stage's directory; in place of the next "
        "two options",
    )
    parser.add_argument("--part_train_config", metavar="YAML", help="config.yaml of the training")
    parser.add_argument(
        "--part_model_file",
        metavar="FILE",
        help="trained weights (safetensors); by default the average of the best models",
    )
    parser.add_argument("--outpath", required=True, metavar="FILE.zip", help="the archive")
    parser.add_argument(
        "--with_base_models",
        type=str2bool,
        default=False,
        help="put encoder and LLM inside; needed where they are local directories",
    )
    parser.add_argument("--results", metavar="FILE", help="RESULTS.md; its figures come along")
    parser.add_argument(
        "--result_dir",
        metavar="DIR",
        help="decoding directory (exp/part/decode_greedy); the model card shows its result.md",
    )
    parser.add_argument("--score_config", metavar="YAML", help="how it was scored")
    parser.add_argument("--decode_config", metavar="YAML", help="how it was decoded")
    parser.add_argument(
        "--corpus_info",
        nargs="*",
        metavar="FILE",
        help="corpus.json files of the training data; by default those in its directories",
    )
    parser.add_argument(
        "--license",
        metavar="NAME",
        help="of the weights, for the model card: an identifier of the hub such as apache-2.0",
    )
    parser.add_argument("--title", help="name of the model; by default the archive's")
    parser.add_argument(
        "--hf_repo",
        metavar="OWNER/NAME",
        help="upload to this repository of the hub; skipped with a message where there is no token",
    )
    parser.add_argument(
        "--hf_private", type=str2bool, default=False, help="whether a new repository is private"
    )
    return parser
