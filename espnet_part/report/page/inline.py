"""Markdown of one line, as `espnet_part.display` writes it, as HTML.

It is the Markdown of our own sentences with foreign words in them: bold, fixed type, escapes and three
entities. All else, links and pictures of a user's notes too, is shown as the characters that it is.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from espnet_part.display import plain

_TOKEN = re.compile(r"\\([!-/:-@\[-`{-~])|`([^`\n]+)`|(\*\*)|&(amp|lt|gt);", re.DOTALL)
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">"}


def inline_html(text: str) -> Markup:
    """The text as HTML; no more tags come out than ``strong`` and ``code``, and each is closed."""
    parts, place, bold = [Markup()], 0, False
    pairs = sum(1 for found in _TOKEN.finditer(text) if found[3]) // 2 * 2
    for found in _TOKEN.finditer(text):
        parts.append(escape(_shown(text[place : found.start()])))
        escaped, code, mark, entity = found.groups()
        if escaped or entity:
            parts.append(escape(escaped or _ENTITIES[entity]))
        elif code:
            parts.append(Markup("<code>{}</code>").format(_shown(code)))
        elif mark and pairs:
            bold, pairs = not bold, pairs - 1
            parts.append(Markup("<strong>" if bold else "</strong>"))
        else:
            parts.append(escape(mark))
        place = found.end()
    parts.append(escape(_shown(text[place:])))
    return Markup().join(parts)


def _shown(text: str) -> str:
    """What a page cannot show is written out, but for the ends of lines."""
    return "\n".join(map(plain, text.split("\n")))
