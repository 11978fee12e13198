"""What a reader has to know to trust a table of scores, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from espnet_part import display
from espnet_part.score.origin import describe_corpus, describe_losses

FEW = 30
"""With fewer utterances the bootstrap's intervals are too narrow."""


def describe_scores(scores: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """Warnings, data, conventions, signatures and versions behind (label, score.json) pairs."""
    shown = [(display.markdown(label), score) for label, score in scores]
    facts = [
        f"**{label}: {display.sentence(note)}**"
        for label, score in shown
        for note in score["notes"]
    ]
    facts += [fact for label, score in shown for fact in _origin(label, score)]
    facts += _conventions([score for _, score in scores])
    versions = {
        ", ".join(f"{name} {number}" for name, number in score["scorer"].items())
        for _, score in scores
    }
    facts += [f"scored by {line}" for line in sorted(versions)]
    return facts


def _origin(label: str, score: dict[str, Any]) -> list[str]:
    """Data, checkpoint and decoding options of one result."""
    facts = []
    corpus = display.markdown(describe_corpus(score.get("corpus", [])))
    counted = f"{score['utterances']} utterances, {len(score['missing'])} of them missing"
    facts.append(f"{label}: {corpus}, {counted}" if corpus else f"{label}: {counted}")
    losses = describe_losses(score.get("corpus", []), score["tasks"])
    facts += [f"**{label}: {display.markdown(loss)}**" for loss in losses]
    if score.get("checkpoint"):
        checkpoint = score["checkpoint"]
        name = checkpoint.get("file", "checkpoint")
        facts.append(f"{label}: decoded with {display.code(name)}" + _hash(checkpoint.get("model")))
    if score.get("decode_options"):
        options = ", ".join(f"{key} {value}" for key, value in score["decode_options"].items())
        facts.append(f"{label}: decoding options: {display.markdown(options)}")
    return facts


def _hash(fingerprint: str | None) -> str:
    return f" (fingerprint {fingerprint[:12]})" if fingerprint else ""


def _conventions(scores: list[dict[str, Any]]) -> list[str]:
    facts = []
    groups = [group for score in scores for group in score["errors"]]
    normalizers = {(group["normalizer"], group["language"]) for group in groups}
    for name in sorted({name for name, _ in normalizers}):
        languages = ", ".join(sorted(language for n, language in normalizers if n == name))
        facts.append(f"normaliser {name}: {display.markdown(languages)}")
    characters = sorted({g["language"] for g in groups if g["metric"] == "cer"})
    if characters:
        facts.append(
            f"CER for {display.markdown(', '.join(characters))}, WER for the others; CER is counted after "
            "normalisation, without spaces"
        )
    scripts = {s["chinese_script"] for s in scores if s.get("chinese_script", "keep") != "keep"}
    facts += [f"Chinese and Cantonese converted to {s} characters on both sides" for s in scripts]
    translations = [group for score in scores for group in score["translations"]]
    for key, name in (
        ("bleu_signature", "BLEU"),
        ("chrf_signature", "chrF"),
        ("chrf++_signature", "chrF++"),
    ):
        signatures = sorted({group[key] for group in translations if key in group})
        facts += [f"{name} {display.code(signature)}" for signature in signatures]
    return facts + _certainty(scores, groups + translations)


def _certainty(scores: list[dict[str, Any]], groups: list[dict[str, Any]]) -> list[str]:
    facts = []
    for samples, seed, level in sorted(
        {tuple(score["bootstrap"].values()) for score in scores if "bootstrap" in score}
    ):
        if samples:
            facts.append(
                f"{100 * level:g} % intervals: percentile bootstrap over the utterances of each "
                f"language, {samples} samples, seed {seed}"
            )
    if facts and any(group["sentences"] < FEW for group in groups):
        facts.append(f"with fewer than {FEW} utterances the intervals are too narrow")
    return facts
