"""Selectors: names for sets of parameters, as written in a schedule.

    adapter                       everything below `adapter`
    encoder.layers[-8:]           the last eight blocks (a Python slice)
    encoder.layers[0]             one block
    encoder.layers[-8:].self_attn a part of each of them
    encoder.*.layer_norm          `*` stands for any run of characters
    llm.lora                      the LoRA matrices below `llm`

A *protected* prefix (such as a table that its authors froze by design) is matched only by a selector
that names it outright: `encoder` leaves `encoder.embed_positions` alone, `encoder.embed_positions`
does not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from espnet_part.errors import ConfigError

_PART = re.compile(r"(?P<name>[A-Za-z0-9_*]+)(\[(?P<slice>[-0-9: ]+)\])?\Z")


def select(selector: str, names: Collection[str], protected: Iterable[str] = ()) -> list[str]:
    """Return the parameter names that ``selector`` matches, in the order of ``names``.

    Raises:
        ConfigError: malformed selector, or nothing matched; the message says what there is.
    """
    if selector.endswith(".lora"):
        below = selector.removesuffix("lora")
        chosen = [n for n in names if n.startswith(below) and ".lora_" in n]
        if not chosen:
            raise ConfigError(
                f"the selector `{selector}` matches nothing: the model has no LoRA there "
                "(is `lora_conf` missing from the model config?)"
            )
        return chosen
    matcher = re.compile(_pattern(selector, names) + r"(\..*)?\Z")
    spared = tuple(p for p in protected if not _names_outright(selector, p))
    chosen = [n for n in names if matcher.match(n) and not _is_below_any(n, spared)]
    if not chosen:
        raise ConfigError(f"the selector `{selector}` matches nothing; {_offer(selector, names)}")
    return chosen


def _pattern(selector: str, names: Collection[str]) -> str:
    """Translate a selector to a regular expression over parameter names."""
    pattern = ""
    for part in selector.split("."):
        match = _PART.match(part)
        if match is None:
            raise ConfigError(
                f"the selector `{selector}` is malformed at `{part}`; write for example "
                "`adapter`, `encoder.layers[-8:]`, `llm.lora`"
            )
        pattern += (r"\." if pattern else "") + match["name"].replace("*", ".*")
        if match["slice"] is not None:
            pattern += rf"\.({'|'.join(_indices(selector, pattern, match['slice'], names))})"
    return pattern


def _indices(selector: str, pattern: str, text: str, names: Collection[str]) -> list[str]:
    """Apply the slice to the numbered children found below ``pattern``."""
    child = re.compile(pattern + r"\.(\d+)\.")
    found = sorted({int(m[1]) for n in names if (m := child.match(n))})
    if not found:
        raise ConfigError(f"the selector `{selector}` matches nothing; {_offer(selector, names)}")
    try:
        bounds = [int(b) if b.strip() else None for b in text.split(":")]
        if len(bounds) > 3 or (len(bounds) == 1 and bounds[0] is None):
            raise ValueError
        if len(bounds) == 1:
            assert bounds[0] is not None
            chosen = [found[bounds[0]]]
        else:
            chosen = found[slice(*bounds)]
    except ValueError:
        raise ConfigError(f"the selector `{selector}` has a malformed slice `[{text}]`") from None
    except IndexError:
        chosen = []
    if not chosen or (bounds[0] is not None and not -len(found) <= bounds[0] < len(found)):
        raise ConfigError(
            f"the selector `{selector}` reaches past the {len(found)} blocks that there are"
        )
    return [str(i) for i in chosen]


def _names_outright(selector: str, prefix: str) -> bool:
    """Whether the literal head of ``selector`` (before a `*` or a slice) lies at or below ``prefix``."""
    return _is_below(re.split(r"[*\[]", selector, maxsplit=1)[0].rstrip("."), prefix)


def _is_below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def _is_below_any(name: str, prefixes: Iterable[str]) -> bool:
    # LoRA matrices sit among protected base weights and are no base weights themselves.
    return ".lora_" not in name and any(_is_below(name, p) for p in prefixes)


def _offer(selector: str, names: Collection[str]) -> str:
    """Say what there is where the selector stops matching."""
    head = selector.split(".")[0].split("[")[0]
    if any(_is_below(n, head) for n in names):
        children = {".".join(n.split(".")[:2]) for n in names if _is_below(n, head)}
        return f"below `{head}` there are: {', '.join(sorted(children))}"
    return f"the model has: {', '.join(sorted({n.split('.')[0] for n in names}))}"
