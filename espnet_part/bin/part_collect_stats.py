"""Count tokens and show the mixture of a data set (stage 5 of a recipe)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from espnet_part.command import HelpFormatter, command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_collect_stats",
        description="Counts the tokens of every prompt and answer with the LLM's tokenizer and "
        "shows what the data hold: utterances, hours and tokens by task, language and target "
        "language. Writes text_tokens (lines `utterance prompt answer`), mixture.md, "
        "mixture.json, and index/, from which part_train reads examples as it needs them "
        "(--train_index_dir).",
        epilog="example: part_collect_stats --data_dir dump/raw/train "
        "--model_config conf/model/x.yaml --out_dir exp/part_stats/train",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--data_dir", required=True, nargs="+", metavar="DIR", help="data directories"
    )
    parser.add_argument(
        "--model_config",
        required=True,
        metavar="FILE",
        help="model YAML, for its tokenizer and its prompts",
    )
    parser.add_argument("--out_dir", required=True, metavar="DIR", help="where the files go")
    parser.add_argument(
        "--max_bad_share",
        type=float,
        default=0.05,
        help="a larger share of faulty utterances is an error",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    from espnet_part.data.datadir import DataDir, check_share, count_bad
    from espnet_part.data.prompts import Prompts
    from espnet_part.errors import ConfigError
    from espnet_part.files import atomic_write
    from espnet_part.model.config import ModelConfig

    # everything that can be wrong in small files comes before the slow imports
    config = ModelConfig.load(args.model_config)
    if config.prompts is None:
        raise ConfigError(f"{args.model_config}: the key `prompts` is missing")
    prompts = Prompts.load(config.prompts)
    examples, faults = DataDir.combine(args.data_dir)
    check_share(faults, examples, args.max_bad_share, " ".join(args.data_dir))

    from espnet_part.data.chat import ChatFormat
    from espnet_part.data.index import write_index
    from espnet_part.data.statistics import as_json, as_markdown, collect_statistics
    from espnet_part.data.tokens import count_tokens, write_token_counts
    from espnet_part.model.tokenizer import load_tokenizer

    chat = ChatFormat(load_tokenizer(config.llm_conf))
    prompt, answer = count_tokens(examples, prompts, chat)
    statistics = collect_statistics(examples, prompt, answer)
    out_dir = Path(args.out_dir)
    write_token_counts(out_dir / "text_tokens", examples, prompt, answer)
    bad = count_bad(faults)
    write_index(out_dir / "index", examples, (prompt, answer), args.data_dir, bad)
    table = as_markdown(statistics)
    with atomic_write(out_dir / "mixture.json") as file:
        json.dump(as_json(statistics), file, indent=1)
        file.write("\n")
    with atomic_write(out_dir / "mixture.md") as file:
        file.write(table)
    print(table, end="")


if __name__ == "__main__":
    main()
