"""Telling a stock model which language to write.

PART is told the languages by its prompt. ESPnet's ASR and ST inference has no option for that, and
an ST model cannot guess whether English speech is to become German or Spanish. So decoding for a
language uses a copy of the weights in which the output biases of all other language tokens are
lowered beyond reach: after ``<sos>`` the model then writes that language's token, and the search
goes on exactly as if the token had been given.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_part.baseline.directories import TASKS, language_token
from espnet_part.bin import command
from espnet_part.errors import DataError
from espnet_part.score.hypotheses import read_table

if TYPE_CHECKING:
    import torch

#: Output layers over the vocabulary of the texts: attention decoders, then CTC.
_BIASES = {
    "asr": ("decoder.output_layer.bias", "decoder.output.bias", "ctc.ctc_lo.bias"),
    "st": ("decoder.output_layer.bias", "decoder.output.bias", "st_ctc.ctc_lo.bias"),
}
_BARRED = -1.0e4  # exp() of it is 0 in float32, and nothing becomes infinite or NaN


def write_only(
    state: Mapping[str, torch.Tensor], task: str, tokens: Sequence[str], barred: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Return the weights with the output biases of the ``barred`` tokens at -10000.

    Raises:
        DataError: no output layer of the size of the vocabulary is there.
    """
    numbers = [tokens.index(token) for token in barred]
    changed = dict(state)
    found = False
    for name in _BIASES[task]:
        if name in state and len(state[name]) == len(tokens):
            found = True
            changed[name] = state[name].clone()
            changed[name][numbers] = _BARRED
    if not found:
        raise DataError(
            f"the model has no output layer over the {len(tokens)} tokens among"
            f" {', '.join(_BIASES[task])}; decode with --force_language false"
        )
    return changed


def split_jobs(languages: Mapping[str, str], jobs: int) -> list[tuple[str, list[str]]]:
    """Deal utterances out to about ``jobs`` jobs of one language each.

    Args:
        languages: language by utterance.
        jobs: number of jobs wanted; each language has one at least, and its share of them.

    Returns:
        (language, utterances) of each job; long and short utterances come to each alike.
    """
    by_language: dict[str, list[str]] = {}
    for utterance, language in sorted(languages.items()):
        by_language.setdefault(language, []).append(utterance)
    split = []
    for language, utterances in sorted(by_language.items()):
        share = max(1, round(jobs * len(utterances) / len(languages)))
        parts = [utterances[n::share] for n in range(min(share, len(utterances)))]
        split += [(language, part) for part in parts]
    return split


def prepare(
    task: str, data: Path, model: Path, token_dir: Path, logdir: Path, jobs: int, force: bool
) -> int:
    """Write ``keys.N.scp`` and ``model.N.pth`` of each decoding job; return the number of jobs.

    Raises:
        DataError: a language to be written that no training text is in; a broken model file.
    """
    import torch

    languages = read_table(data / "utt2tgt")
    tokens = (token_dir / "tokens.txt").read_text(encoding="utf-8").splitlines()
    known = (token_dir / "languages.txt").read_text(encoding="utf-8").split()
    logdir.mkdir(parents=True, exist_ok=True)
    if not force:
        split = split_jobs(dict.fromkeys(languages, ""), jobs)
        models = {"": model.resolve()}
    else:
        split = split_jobs(languages, jobs)
        try:
            state = torch.load(model, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds
            raise DataError(f"{model}: cannot be loaded: {error}") from None
        models = {}
        for language in sorted(set(languages.values())):
            wanted = language_token(language)
            if wanted not in known:
                raise DataError(f"{data}: no training text is in {language}, but {' '.join(known)}")
            copy = logdir / f"model.{language}.pth"
            barred = [token for token in known if token != wanted]
            torch.save(write_only(state, task, tokens, barred), copy)
            models[language] = copy.resolve()
    for number, (language, utterances) in enumerate(split, 1):
        link = logdir / f"model.{number}.pth"
        link.unlink(missing_ok=True)
        link.symlink_to(models[language])
        keys = "".join(f"{utterance}\n" for utterance in utterances)
        (logdir / f"keys.{number}.scp").write_text(keys, encoding="utf-8")
    return len(split)


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.baseline.language",
        description="Prepares decoding jobs of one target language each: lists of utterances, and "
        "copies of the model that can write that language only. Prints the number of jobs.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--task", required=True, choices=sorted(TASKS))
    parser.add_argument("--data_dir", required=True, type=Path, metavar="DIR", help="has utt2tgt")
    parser.add_argument("--model_file", required=True, type=Path, metavar="PTH")
    parser.add_argument(
        "--token_dir", required=True, type=Path, metavar="DIR", help="tokens.txt, languages.txt"
    )
    parser.add_argument("--logdir", required=True, type=Path, metavar="DIR")
    parser.add_argument("--nj", type=int, default=1, help="number of jobs, about")
    parser.add_argument(
        "--let_it_guess", action="store_true", help="the model writes the language token itself"
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    force = not args.let_it_guess
    print(
        prepare(
            args.task, args.data_dir, args.model_file, args.token_dir, args.logdir, args.nj, force
        )
    )


if __name__ == "__main__":
    main()
