"""Count tokens and show the mixture of a data set (stage 5 of a recipe)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_part.command import HelpFormatter, add_split, check_job, command


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
    add_split(parser)
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    parser = get_parser()
    args = parser.parse_args(cmd)
    check_job(parser, args)
    if args.nj > 1 and len(args.data_dir) > 1:
        parser.error("--nj: one data directory is split, not several")
    from espnet_part.data.prompts import Prompts
    from espnet_part.errors import ConfigError
    from espnet_part.model.config import ModelConfig

    # what can be wrong in small files comes before the slow imports
    config = ModelConfig.load(args.model_config)
    if config.prompts is None:
        raise ConfigError(f"{args.model_config}: the key `prompts` is missing")
    Prompts.load(config.prompts)

    from espnet_part.data.counting import Counting, collect
    from espnet_part.data.splits import do_split

    data_dirs, out_dir = [Path(path) for path in args.data_dir], Path(args.out_dir)
    how = config.llm_conf, config.prompts
    if args.job is not None:
        do_split(Counting(data_dirs[0], *how), out_dir, args.nj, args.job)
        return
    print(collect(data_dirs, *how, out_dir, args.max_bad_share, args.nj), end="")


if __name__ == "__main__":
    main()
