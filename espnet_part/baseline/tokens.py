"""One subword vocabulary for all languages: a SentencePiece model and ESPnet's token list.

Equals what ESPnet's recipes make (stage "token list"), with the language tokens as symbols that
are never split. The ASR and the ST baseline share it, so that one can start from the other.
"""

from __future__ import annotations

import argparse
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from espnet_part.command import HelpFormatter, command
from espnet_part.errors import ConfigError, DataError
from espnet_part.files import atomic_write
from espnet_part.kaldi import iter_table

_TAGGED = re.compile(r"(<[a-z]{2,3}>) (.+)")


def read_texts(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield (language token, text) of each line ``utterance <lang> text`` of the files.

    Raises:
        DataError: a line has another form.
    """
    for path in paths:
        for number, _, value in iter_table(path):
            match = _TAGGED.fullmatch(value)
            if match is None:
                raise DataError(f"{path}:{number}: not of the form: utterance <lang> text")
            yield match[1], match[2]


def frequent_characters(texts: Iterable[tuple[str, str]], coverage: float) -> str:
    """The characters that make up the share ``coverage`` of the texts of each language, sorted.

    Counted over all languages together, what is left uncovered would be the script of a language
    with few texts, such as Korean with its 279 of two million clips in Common Voice.

    Args:
        texts: (language, text).
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for language, text in texts:
        counts[language].update(text.replace(" ", ""))
    found = set()
    for characters in counts.values():
        left = coverage * characters.total()
        for character, count in characters.most_common():
            if left <= 0:
                break
            found.add(character)
            left -= count
    return "".join(sorted(found))


def train(paths: Sequence[Path], vocabulary: int, coverage: float, out: Path) -> list[str]:
    """Train the BPE model ``out/bpe.model`` and list its tokens; return them.

    ``out/tokens.txt`` is ESPnet's token list, ``out/languages.txt`` the language tokens in it.

    Args:
        paths: files with lines ``utterance <lang> text``.
        vocabulary: number of subwords, the symbols of SentencePiece included.
        coverage: share of each language's characters that get a subword; the others are ``<unk>``.

    Raises:
        ConfigError: the texts are too few or too many for ``vocabulary``.
        DataError: a line of another form, or no text at all.
    """
    import sentencepiece

    languages = sorted({language for language, _ in read_texts(paths)})
    if not languages:
        raise DataError(f"{', '.join(map(str, paths))}: no text")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(text for _, text in read_texts(paths)),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary,
            character_coverage=coverage,
            required_chars=frequent_characters(read_texts(paths), coverage),
            user_defined_symbols=languages,
            # "<de> Guten" is <de> and ▁Guten: without a prefix nothing stands before the language
            add_dummy_prefix=False,
            # references are scored as they are: "，" must not come back as ","
            normalization_rule_name="identity",
            input_sentence_size=1_000_000,
            shuffle_input_sentence=True,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ConfigError(f"--nbpe {vocabulary}: {str(error).splitlines()[-1]}") from None
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(n) for n in range(processor.vocab_size())]
    special = {"<unk>", "<s>", "</s>"}
    tokens = ["<blank>", "<unk>", *(p for p in pieces if p not in special), "<sos/eos>"]
    with atomic_write(out / "bpe.model", "wb") as file:
        file.write(model.getvalue())
    with atomic_write(out / "tokens.txt") as file:
        file.writelines(f"{token}\n" for token in tokens)
    with atomic_write(out / "languages.txt") as file:
        file.writelines(f"{language}\n" for language in languages)
    return tokens


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.baseline.tokens",
        description="Trains a BPE model on texts with language tokens; writes bpe.model, "
        "tokens.txt and languages.txt.",
        epilog="example: python -m espnet_part.baseline.tokens --nbpe 5000 "
        "--out_dir dump/espnet/tokens_bpe5000 dump/espnet/asr/train/text dump/espnet/st/train/text",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    parser.add_argument("--out_dir", required=True, type=Path, metavar="DIR")
    parser.add_argument("--nbpe", type=int, default=5000, help="number of subwords")
    parser.add_argument(
        "--bpe_char_cover",
        type=float,
        default=1.0,
        help="share of the characters of each language that are covered",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    tokens = train(args.texts, args.nbpe, args.bpe_char_cover, args.out_dir)
    print(f"{args.out_dir / 'tokens.txt'}: {len(tokens)} tokens")


if __name__ == "__main__":
    main()
