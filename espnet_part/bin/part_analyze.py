"""Look into trained models: similarity of gradients, separability and alignment of representations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_part.command import HelpFormatter, command, count

_WHAT = ("gradients", "layers")


def _two_or_more(text: str) -> int:
    value = count(text)
    if value < 2:
        raise argparse.ArgumentTypeError("must be at least 2: one batch does not show its noise")
    return value


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Shows what each phase of training did. gradients: cosine similarity of the gradients "
        "of every pair of (task, language) groups, by module, with its noise. layers: how well languages "
        "can be told apart, and speech be matched with its transcript, its translation and the same "
        "sentence in other languages, at every layer. Writes ANALYSIS.md, pictures (PNG and PDF) and tables; "
        "what was made for the same weights and data is not made again.",
        epilog="example: part_analyze --model exp/part exp/two_stage --data_dir dump/raw/dev",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--model",
        nargs="+",
        required=True,
        metavar="DIR",
        help="experiments (exp/part: the model at the end of each phase), stages of them "
        "(exp/part/stage2), or packed models",
    )
    parser.add_argument(
        "--data_dir",
        nargs="+",
        required=True,
        metavar="DIR",
        help="data directories, after stage 3 of a recipe: those of dev, or of training",
    )
    parser.add_argument("--out", default="exp/analysis", metavar="DIR", help="where results go")
    parser.add_argument(
        "--what", nargs="+", choices=_WHAT, default=list(_WHAT), help="what to look at"
    )
    parser.add_argument("--ngpu", type=int, choices=(0, 1), default=0, help="1 for a GPU")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of examples")

    gradients = parser.add_argument_group("gradients")
    gradients.add_argument(
        "--batches",
        type=_two_or_more,
        default=8,
        help="of each group; more show smaller differences",
    )
    gradients.add_argument("--batch_size", type=count, default=8, help="examples of a batch")
    gradients.add_argument(
        "--groups",
        type=_names,
        default=[],
        metavar="NAMES",
        help="only these, separated by commas, such as 'asr de,s2tt de-en'; by default all",
    )
    gradients.add_argument(
        "--memory_gb",
        type=float,
        default=2.0,
        help="for gradients, beside the model; modules that need more are kept as random sketches",
    )

    layers = parser.add_argument_group("layers")
    layers.add_argument("--utterances", type=count, default=100, help="of each language, at most")
    layers.add_argument(
        "--pivot",
        default="en",
        metavar="CODE",
        help="language whose texts tell which utterances say the same",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    import logging

    from espnet_part.analysis.checkpoints import check_names, phase_models
    from espnet_part.analysis.document import write_document
    from espnet_part.analysis.program import GradientAnalysis, LayerAnalysis, Settings
    from espnet_part.data.stage_data import load_examples
    from espnet_part.errors import ConfigError

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    if not 0 < args.memory_gb < float("inf"):
        raise ConfigError(f"--memory_gb must be positive: {args.memory_gb}")
    models = [found for model in args.model for found in phase_models(model)]
    check_names(models)
    settings = Settings(
        batches=args.batches,
        batch_size=args.batch_size,
        groups=tuple(args.groups),
        utterances=args.utterances,
        pivot=args.pivot,
        memory=args.memory_gb * 1e9,
        seed=args.seed,
        device="cuda" if args.ngpu else "cpu",
    )
    out = Path(args.out)
    examples = load_examples(args.data_dir, max_bad_share=0.1)
    # all are made, and so checked, before the first one runs
    analyses: list[GradientAnalysis | LayerAnalysis] = []
    if "gradients" in args.what:
        analyses.append(GradientAnalysis(examples, settings, out))
    if "layers" in args.what:
        analyses.append(LayerAnalysis(examples, settings, out))
    out.mkdir(parents=True, exist_ok=True)
    entries = [entry for analysis in analyses for entry in analysis.run(models)]
    written = write_document(
        out,
        entries,
        {
            "models": ", ".join(f"{m.system}: {m.name}" for m in models),
            "data": " ".join(args.data_dir),
            "seed": str(args.seed),
        },
    )
    print(f"part_analyze: wrote {written}")


if __name__ == "__main__":
    main()
