"""Score hypotheses: error rates by language and BLEU by direction."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_part.bin import command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_score",
        description="Scores hypotheses against a data directory. ASR: WER (CER for zh, yue, ja, "
        "ko) after Whisper's normaliser. Translation: BLEU and chrF by sacreBLEU on raw text. "
        "Prints tables and writes score.json and result.md.",
        epilog="example: part_score --ref_dir dump/raw/test --hyp_dir exp/x/decode_greedy/test",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--ref_dir", required=True, metavar="DIR", help="has text, utt2task, utt2lang, utt2tgt"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--hyp_dir",
        metavar="DIR",
        help="decoding directory; its logdir/output.*/1best_recog/text are joined into DIR/text",
    )
    source.add_argument("--hyp_text", metavar="FILE", help='file of lines "utterance-id text"')
    parser.add_argument(
        "--out_dir",
        metavar="DIR",
        help="where score.json and result.md go; by default beside the hypotheses",
    )
    parser.add_argument(
        "--name", help="name of the result in tables; by default the hypotheses' directory"
    )
    parser.add_argument(
        "--cer_langs",
        default="zh,yue,ja,ko",
        metavar="CODES",
        help="languages scored by characters, separated by commas",
    )
    parser.add_argument(
        "--tasks",
        metavar="TASKS",
        help="score these tasks only, such as asr (separated by commas); by default all",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    from espnet_part.files import atomic_write
    from espnet_part.score.directory import read_table, score_directory
    from espnet_part.score.hypotheses import collect_failures, collect_hypotheses
    from espnet_part.score.table import score_sections

    failures: dict[str, str] = {}
    if args.hyp_dir:
        origin = Path(args.hyp_dir)
        hypotheses = collect_hypotheses(origin)
        failures = collect_failures(origin)
        if (origin / "logdir").is_dir():
            with atomic_write(origin / "text") as file:
                file.writelines(f"{key} {value}\n" for key, value in hypotheses.items())
    else:
        origin = Path(args.hyp_text).parent
        hypotheses = read_table(args.hyp_text)
    languages = frozenset(code for code in args.cer_langs.split(",") if code)
    tasks = args.tasks.split(",") if args.tasks else None
    scores = score_directory(args.ref_dir, hypotheses, languages, tasks).as_dict()
    name = args.name or "/".join(origin.resolve().parts[-2:])
    scores |= {
        "name": name,
        "ref_dir": str(args.ref_dir),
        "hypotheses": str(args.hyp_dir or args.hyp_text),
        "failed": failures,
    }
    if failures:
        scores["notes"].append(f"{len(failures)} utterances could not be decoded; see failed.tsv")
    text = score_sections([(name, scores)])
    out_dir = Path(args.out_dir or origin)
    with atomic_write(out_dir / "score.json") as file:
        json.dump(scores, file, ensure_ascii=False, indent=1)
        file.write("\n")
    with atomic_write(out_dir / "result.md") as file:
        file.write(text)
    print(text, end="")
    for note in scores["notes"]:
        print(f"part_score: WARNING: {note}", file=sys.stderr)


if __name__ == "__main__":
    main()
