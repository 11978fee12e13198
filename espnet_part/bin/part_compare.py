"""Compare systems' outputs, whatever wrote them, by one scorer: tables, paired tests, a chart."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_part.command import HelpFormatter, command, count, split_codes, str2bool


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_compare",
        description="Scores the outputs of several systems on one test set in exactly the same "
        "way, tests each against the first, and says what is missing where. A system is "
        "[name=]path of a decoding directory (of part_inference, or of ESPnet's asr1, st1 or "
        's2t1 recipes), a file of lines "id text", a trn file, or JSON Lines as Hugging Face '
        "scripts and NeMo write them.",
        epilog="example: part_compare PART=exp/part/decode_greedy "
        "ESPnet=../asr1/exp/asr_conformer/decode_asr Whisper=whisper.jsonl "
        "--ref_dir data/test --out exp/compare",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "systems", nargs="+", metavar="[NAME=]PATH", help="the first is the baseline of the tests"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where compare.md, compare.json and compare.png go; by default the tables are only "
        "printed",
    )
    parser.add_argument("--title", default="Comparison", help="first heading")

    references = parser.add_argument_group("references")
    references.add_argument(
        "--ref_dir",
        metavar="DIR",
        help="data directory with text, utt2task, utt2lang, utt2tgt. By default that of the first "
        "system that part_score has scored, else the references that a system brings along "
        "(ref.trn, or a key of JSON Lines), for which --task and --lang are needed",
    )
    references.add_argument(
        "--set",
        metavar="NAME",
        help="test set to take of a decoding directory that has several; by default the name of "
        "--ref_dir",
    )
    references.add_argument("--task", default="", help="of references that a system brings along")
    references.add_argument("--lang", default="", help="language heard, likewise")
    references.add_argument("--tgt_lang", default="", help="language written, for translation")
    references.add_argument(
        "--tasks", metavar="TASKS", help="compare these tasks only (separated by commas)"
    )
    references.add_argument(
        "--langs", metavar="CODES", help="compare these languages heard only (separated by commas)"
    )

    ids = parser.add_argument_group(
        "ids", "An id that is exactly a reference's is its. For others rules can be given."
    )
    ids.add_argument(
        "--strip_prefix",
        default="",
        metavar="REGEX",
        help="removed from the beginning of ids of both sides that do not match as they are",
    )
    ids.add_argument(
        "--strip_suffix",
        default="",
        metavar="REGEX",
        help="likewise from the end; write --strip_suffix='-asr', with the equals sign",
    )
    ids.add_argument("--id_key", metavar="KEY", help="of JSON Lines; found by its name by default")
    ids.add_argument("--hypothesis_key", metavar="KEY", help="likewise")
    ids.add_argument("--reference_key", metavar="KEY", help="likewise")

    scoring = parser.add_argument_group("scoring")
    scoring.add_argument(
        "--score_config", metavar="FILE", help="a score.yaml; by default its defaults"
    )
    scoring.add_argument(
        "--special_tokens",
        metavar="REGEX",
        help="one special token; a run of them at the beginning of a text is removed and "
        "reported. By default anything in angle brackets, as s2t1 and Whisper write it, but "
        "<unk> and <noise>; '' removes nothing",
    )
    scoring.add_argument(
        "--paired",
        type=str2bool,
        default=True,
        metavar="true|false",
        help="test each system against the first",
    )
    scoring.add_argument("--nj", type=count, default=1, metavar="N", help="number of processes")
    scoring.add_argument(
        "--published",
        action="append",
        default=[],
        metavar="NAME",
        help="put published figures beside (commonvoice15, fleurs, covost2, wenetspeech:test_net, "
        "wenetspeech:test_meeting); they are marked as not rescored. May be repeated",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    import json
    import tempfile

    from espnet_part import display
    from espnet_part.compare.alignment import IdRules
    from espnet_part.compare.comparison import compare
    from espnet_part.compare.document import comparison_dict, comparison_markdown, warnings
    from espnet_part.compare.jsonl import Keys
    from espnet_part.compare.published import read_published
    from espnet_part.compare.readers import SPECIAL_TOKENS, read_output
    from espnet_part.compare.reference_set import from_directory, from_systems, recorded_ref_dir
    from espnet_part.errors import ConfigError
    from espnet_part.files import atomic_write
    from espnet_part.score.score_config import ScoreConfig, load_score_config

    config = load_score_config(args.score_config) if args.score_config else ScoreConfig()
    rules = IdRules(args.strip_prefix, args.strip_suffix)
    keys = Keys(args.id_key, args.hypothesis_key, args.reference_key)
    tokens = SPECIAL_TOKENS if args.special_tokens is None else args.special_tokens
    ref_dir = Path(args.ref_dir) if args.ref_dir else None
    for option in ("task", "lang", "tgt_lang"):
        if ref_dir is not None and getattr(args, option):
            mend = {"task": ": --tasks chooses some", "lang": ": --langs chooses some"}
            raise ConfigError(f"--{option}: --ref_dir says it of each{mend.get(option, '')}")
    test_set = args.set or (ref_dir.resolve().name if ref_dir else "")
    published = [read_published(name, test_set) for name in args.published]
    outputs = [read_output(system, test_set, keys, tokens) for system in args.systems]
    if ref_dir is None and not args.task:
        ref_dir = recorded_ref_dir(outputs)
    with tempfile.TemporaryDirectory(prefix="part_compare_") as work:
        if ref_dir is not None:
            references = from_directory(ref_dir, Path(work), _codes(args.tasks), _codes(args.langs))
        else:
            references = from_systems(outputs, Path(work), args.task, args.lang, args.tgt_lang)
        comparison = compare(outputs, references, config, rules, args.paired, args.nj)
    text = comparison_markdown(comparison, published, args.title)
    print(text, end="")
    for line in warnings(comparison):
        print(f"part_compare: WARNING: {display.plain(line)}", file=sys.stderr)
    if args.out:
        from espnet_part.compare.chart import draw_comparison

        out = Path(args.out)
        heading, rest = text.split("\n", 1)
        with atomic_write(out / "compare.md") as file:
            file.write(f"{heading}\n\n![by language and system](compare.png)\n{rest}")
        with atomic_write(out / "compare.json") as file:
            json.dump(comparison_dict(comparison, published), file, ensure_ascii=False, indent=1)
            file.write("\n")
        draw_comparison(comparison, published, out / "compare.png")


def _codes(value: str | None) -> list[str] | None:
    return split_codes(value) if value else None


if __name__ == "__main__":
    main()
