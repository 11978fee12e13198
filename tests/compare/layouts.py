"""Decoding directories exactly as ESPnet's asr.sh, st.sh and s2t.sh leave them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path


def write_table(path: Path, table: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key} {value}\n" for key, value in table.items()), encoding="utf-8")


def write_shards(directory: Path, hypotheses: Mapping[str, str], jobs: int = 2) -> None:
    """`logdir/output.JOB/1best_recog`, and the shards joined as by `cat | sort -k1`."""
    keys = sorted(hypotheses)
    for job in range(jobs):
        shard = {key: hypotheses[key] for key in keys[job::jobs]}
        recog = directory / f"logdir/output.{job + 1}/1best_recog"
        write_table(recog / "text", shard)
        write_table(recog / "score", dict.fromkeys(shard, "-1.5"))
        write_table(recog / "token", {key: " ".join(text) for key, text in shard.items()})
    write_table(directory / "text", {key: hypotheses[key] for key in keys})
    write_table(directory / "score", dict.fromkeys(keys, "-1.5"))


def write_trn(path: Path, texts: list[str], utt2spk: Mapping[str, str]) -> None:
    """`paste <(texts) <(<utt2spk awk '{ print "(" $2 "-" $1 ")" }')`: line beside line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = [f"({speaker}-{utterance})" for utterance, speaker in utt2spk.items()]
    length = max(len(ids), len(texts))
    lines = zip(texts + [""] * (length - len(texts)), ids + [""] * (length - len(ids)), strict=True)
    path.write_text("".join(f"{text}\t{key}\n" for text, key in lines), encoding="utf-8")


def characters(text: str) -> str:
    return " ".join("<space>" if sign == " " else sign for sign in text)


def pieces(text: str) -> str:
    return " ".join(f"▁{word[:2]} {word[2:]}".strip() for word in text.split())


def write_asr1(
    directory: Path,
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    utt2spk: Mapping[str, str],
    cleaner: Callable[[str], str] = str.upper,
) -> None:
    """asr.sh and s2t.sh: `score_{wer,cer,ter}`; references are cleaned, hypotheses are not."""
    write_shards(directory, hypotheses)
    kinds = {"score_wer": " ".join, "score_cer": characters, "score_ter": pieces}
    for name, tokenize in kinds.items():
        for side, texts in (("ref", references), ("hyp", hypotheses)):
            cleaned = [
                cleaner(texts[key]) if side == "ref" else texts[key] for key in sorted(texts)
            ]
            tokens = [" ".join(t.split()) if name == "score_wer" else tokenize(t) for t in cleaned]
            write_trn(directory / name / f"{side}.trn", tokens, utt2spk)
        (directory / name / "result.txt").write_text("| SPKR | # Snt # Wrd |\n")


def write_st1(
    directory: Path,
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    utt2spk: Mapping[str, str],
    detokenize: Callable[[str], str],
) -> None:
    """st.sh: `score_bleu/{ref,hyp}.trn{.org,,.detok,.detok.lc.rm}`."""
    write_shards(directory, hypotheses)
    for side, texts in (("ref", references), ("hyp", hypotheses)):
        lines = [texts[key] for key in sorted(texts)]
        path = directory / f"score_bleu/{side}.trn"
        org = path.with_name(f"{side}.trn.org")
        write_trn(org, lines, utt2spk)
        # perl -pe 's/\([^\)]+\)$//g;'
        without_ids = [re.sub(r"\([^)]+\)$", "", line) for line in org.read_text().splitlines()]
        detokenized = [detokenize(line.strip()) for line in without_ids]
        for suffix, written in (
            ("", without_ids),
            (".detok", detokenized),
            (".detok.lc.rm", [line.lower() for line in detokenized]),
        ):
            path.with_name(f"{side}.trn{suffix}").write_text("".join(f"{w}\n" for w in written))


def write_references(directory: Path, rows: list[tuple[str, str, str, str, str]]) -> Path:
    """Our data directory of (id, task, language, target, text)."""
    for number, name in enumerate(("utt2task", "utt2lang", "utt2tgt", "text"), 1):
        write_table(directory / name, {row[0]: row[number] for row in rows})
    return directory
