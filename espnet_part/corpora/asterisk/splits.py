"""Splits in which no prompt of training is nearly one of dev or test, in any language."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

SIMILAR = 0.85
"""Texts whose share of common characters (Indel ratio) is at least this are near-duplicates."""

Texts = Mapping[str, Mapping[str, str]]


def split_prompts(texts: Texts, dev: int, test: int, min_words: int = 3) -> dict[str, str]:
    """The split of every prompt: "train", "dev" or "test".

    Dev and test get prompts that exist in every language, are near no other prompt in any of them and
    have some words; which of them is decided by a hash of the id, so that a prompt stays where it is
    whatever else changes.

    Args:
        texts: texts by language and id.
        dev, test: the number of ids.
        min_words: of every language's text.
    """
    ids = sorted({name for by_id in texts.values() for name in by_id})
    clusters = find_clusters(texts)
    sizes = Counter(clusters.values())
    alone = [
        name
        for name in ids
        if sizes[clusters[name]] == 1
        and all(name in by_id for by_id in texts.values())
        and all(len(by_id[name].split()) >= min_words for by_id in texts.values())
    ]
    alone.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    split = dict.fromkeys(ids, "train")
    split.update(dict.fromkeys(alone[:test], "test"))
    split.update(dict.fromkeys(alone[test : test + dev], "dev"))
    return split


def find_clusters(texts: Texts) -> dict[str, str]:
    """Each id's cluster, named by one of its ids: near-duplicates in any language, and theirs."""
    from rapidfuzz import fuzz, process

    parent = {name: name for by_id in texts.values() for name in by_id}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for by_id in texts.values():
        same: dict[str, list[str]] = defaultdict(list)
        for name in sorted(by_id):
            same[_bare(by_id[name])].append(name)
        bare = list(same)
        for names in same.values():
            for name in names[1:]:
                parent[root(name)] = root(names[0])
        ratios = process.cdist(bare, bare, scorer=fuzz.ratio, score_cutoff=100 * SIMILAR)
        for first, second in zip(*ratios.nonzero(), strict=True):
            one, other = root(same[bare[first]][0]), root(same[bare[second]][0])
            parent[max(one, other)] = min(one, other)
    return {name: root(name) for name in parent}


def nearly_alike(texts: Sequence[str], others: Sequence[str]) -> set[int]:
    """Places of the ``texts`` that are nearly one of the others."""
    from rapidfuzz import fuzz, process

    bare = [[_bare(text) for text in group] for group in (texts, others)]
    if not all(bare):
        return set()
    ratios = process.cdist(*bare, scorer=fuzz.ratio, score_cutoff=100 * SIMILAR)
    return {int(place) for place in ratios.nonzero()[0]}


def _bare(text: str) -> str:
    """Letters and digits alone, without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(re.sub(r"[^\w\s]|_", " ", decomposed).split())
