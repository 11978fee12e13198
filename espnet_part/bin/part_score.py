"""Score hypotheses: error rates by language and BLEU by direction, with intervals."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_part.command import HelpFormatter, command, count, split_codes
from espnet_part.sample_rate import SAMPLE_RATE

if TYPE_CHECKING:
    from espnet_part.score.score_config import ScoreConfig


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_score",
        description="Scores hypotheses against a data directory. ASR: WER (CER for Korean and for scripts "
        "without spaces, such as those of zh, yue, ja, th) after Whisper's normaliser, and signs of "
        "hallucination. Translation: BLEU, chrF and chrF++ by sacreBLEU on raw text. Every figure has a "
        "bootstrap interval. Prints tables and writes score.json, result.md, hallucinations.tsv and "
        "score_wer/{ref,hyp}.trn for sclite.",
        epilog="example: part_score --ref_dir dump/raw/test --hyp_dir exp/x/decode_greedy/test",
        formatter_class=HelpFormatter,
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
        "--config",
        metavar="YAML",
        help="normaliser, units, bootstrap and thresholds; conf/score.yaml lists them all",
    )
    parser.add_argument(
        "--out_dir",
        metavar="DIR",
        help="where the results go; by default beside the hypotheses",
    )
    parser.add_argument(
        "--name",
        help="name of the system, the heading of its tables; by default the hypotheses' directory",
    )
    parser.add_argument(
        "--cer_langs",
        metavar="CODES",
        help="languages that have spaces between words and are scored by characters all the same, "
        "separated by commas; overrules the configuration",
    )
    parser.add_argument(
        "--tasks",
        metavar="TASKS",
        help="score these tasks only, such as asr (separated by commas); by default all",
    )
    parser.add_argument(
        "--utt2num_samples",
        metavar="FILE",
        help="lengths of the audio, to find outputs longer than the speech; by default that of "
        "--ref_dir, if there",
    )
    parser.add_argument(
        "--fs", type=count, default=SAMPLE_RATE, help="samples a second in --utt2num_samples"
    )
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="name of the model's file, for the table"
    )
    parser.add_argument(
        "--decode_config",
        metavar="YAML",
        help="the options that another program decoded with, for the table",
    )
    parser.add_argument(
        "--comet_model",
        metavar="DIR",
        help="score translations by this COMET model as well (a local directory such as a snapshot "
        "of Unbabel/wmt22-comet-da); needs src_text in --ref_dir",
    )
    parser.add_argument(
        "--comet_python",
        default=sys.executable,
        metavar="PYTHON",
        help="of an environment with unbabel-comet, which cannot be installed beside this package",
    )
    parser.add_argument(
        "--nj",
        type=count,
        default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        help="processes for large test sets; the scores do not depend on it",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    config = _configuration(args)

    from espnet_part import display
    from espnet_part.config import load_yaml
    from espnet_part.errors import DataError
    from espnet_part.files import atomic_write
    from espnet_part.kaldi import read_table
    from espnet_part.score.counting import measure
    from espnet_part.score.decoded import collect_failures, collect_hypotheses
    from espnet_part.score.listings import write_suspects, write_trn
    from espnet_part.score.origin import read_decoding
    from espnet_part.score.references import read_durations, read_references
    from espnet_part.score.score_tables import score_sections
    from espnet_part.score.scoring import summarize

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
    hashes, options = read_decoding(origin)
    if args.decode_config:
        options = load_yaml(args.decode_config)
    lengths = Path(args.utt2num_samples or Path(args.ref_dir) / "utt2num_samples")
    durations = {}
    if args.utt2num_samples or lengths.is_file():
        durations = read_durations(lengths, args.fs)

    references = read_references(args.ref_dir, split_codes(args.tasks) if args.tasks else None)
    if hypotheses and hypotheses.keys().isdisjoint(references.texts):
        raise DataError(
            f"{args.hyp_dir or args.hyp_text}: no id of its {len(hypotheses)} hypotheses is one of "
            f"{args.ref_dir}; are they of another test set?"
        )
    measured = measure(references, hypotheses, config, durations, args.nj)
    scores = summarize(measured, hypotheses, config, durations, args.ref_dir).as_dict()
    name = args.name or "/".join(origin.resolve().parts[-2:])
    scores |= {
        "name": name,
        "ref_dir": str(args.ref_dir),
        "hypotheses": str(args.hyp_dir or args.hyp_text),
        "checkpoint": {**({"file": args.checkpoint} if args.checkpoint else {}), **hashes},
        "decode_options": options,
        "failed": failures,
    }
    if args.comet_model:
        from espnet_part.score.comet import score_comet

        sources = read_table(Path(args.ref_dir) / "src_text")
        scores["comet"] = score_comet(
            measured, sources, args.comet_model, args.comet_python, config.bootstrap
        )
    if failures:
        scores["notes"].append(f"{len(failures)} utterances could not be decoded; see failed.tsv")
    dataset = Path(args.ref_dir).resolve().name  # as RESULTS.md and ESPnet call it
    text = f"## {display.markdown(name)}\n\n{score_sections([(dataset, scores)])}"
    out_dir = Path(args.out_dir or origin)
    write_trn(out_dir, measured)
    write_suspects(out_dir / "hallucinations.tsv", measured)
    with atomic_write(out_dir / "score.json") as file:
        json.dump(scores, file, ensure_ascii=False, indent=1)
        file.write("\n")
    with atomic_write(out_dir / "result.md") as file:
        file.write(text)
    print(text, end="")
    for note in scores["notes"]:
        print(f"part_score: WARNING: {display.plain(note)}", file=sys.stderr)


def _configuration(args: argparse.Namespace) -> ScoreConfig:
    """The settings of --config, those of the command line over them."""
    from espnet_part.config import build, load_yaml
    from espnet_part.score.score_config import ScoreConfig

    values = load_yaml(args.config) if args.config else {}
    if args.cer_langs is not None:
        values["cer_languages"] = split_codes(args.cer_langs)
    return build(ScoreConfig, values, args.config or "part_score")


if __name__ == "__main__":
    main()
