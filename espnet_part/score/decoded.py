"""Finding and joining the hypotheses of a decoding directory (ESPnet's layout)."""

from __future__ import annotations

from pathlib import Path

from espnet_part.errors import DataError
from espnet_part.kaldi import read_table

SHARDS = "logdir/output.*/1best_recog/text"


def collect_hypotheses(hyp_dir: str | Path) -> dict[str, str]:
    """Hypotheses by utterance id of a decoding directory.

    The shards `logdir/output.*/1best_recog/text` are joined where there are any; otherwise the
    joined file `text` (or `1best_recog/text` of a single shard) is read. The same hypothesis in
    two shards is accepted, as after a change of the number of jobs.

    Raises:
        DataError: nothing found, or two shards disagree about an utterance.
    """
    hyp_dir = Path(hyp_dir)
    shards = sorted(hyp_dir.glob(SHARDS))
    if not shards:
        for name in ("text", "1best_recog/text"):
            if (hyp_dir / name).is_file():
                return read_table(hyp_dir / name)
        raise DataError(f"{hyp_dir}: no hypotheses: neither {SHARDS} nor text is there")
    joined: dict[str, str] = {}
    origin: dict[str, Path] = {}
    for shard in shards:
        for utterance, text in read_table(shard).items():
            if joined.setdefault(utterance, text) != text:
                raise DataError(
                    f"{utterance}: different hypotheses in {origin[utterance]} and {shard}; one "
                    "of them is left from an earlier decoding: remove it"
                )
            origin.setdefault(utterance, shard)
    return dict(sorted(joined.items()))


def collect_failures(hyp_dir: str | Path) -> dict[str, str]:
    """Utterances that could not be decoded, with the reason, from the shards' failed.tsv."""
    failures: dict[str, str] = {}
    hyp_dir = Path(hyp_dir)
    for path in sorted([*hyp_dir.glob("logdir/output.*/failed.tsv"), *hyp_dir.glob("failed.tsv")]):
        failures.update(read_table(path))
    return failures
