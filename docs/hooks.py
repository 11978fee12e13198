"""What mkdocs does not do by itself for the site of `mkdocs.yml`.

Pages and pictures keep their paths in the repository, so a link is true there and on the site; the texts of
`docs/site` stand at the site's top. A link to a file that is no page leads to a copy of it. The page
of commands is filled with their ``--help``, and equations (as GitHub writes them: a fence ``math``, or
`` $`…`$ `` in a line) become MathML, which browsers draw by themselves.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
TEXTS = "docs/site/"
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
HELP = re.compile(r"^<!-- help of (.+) -->$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    # Markdown takes instances as it takes names
    config.markdown_extensions.append(Equations())  # type: ignore[arg-type]
    config.mdx_configs["pymdownx.snippets"] = {"base_path": [ROOT], "check_paths": True}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Give the site the pages that `nav` names, what they link to, and all of `docs/site`."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    pages = [ROOT / path for path in named(config.nav)]
    paths = {*pages, *(ROOT / TEXTS).rglob("*.*")}
    for page in pages:
        links = LINK.findall(page.read_text(encoding="utf-8"))
        linked = {Path(os.path.normpath(page.parent / link)) for link in links}
        paths |= {path for path in linked if path.is_file() and path.suffix != ".md"}
    return Files([*theme, *(file_of(path, config) for path in sorted(paths))])


def named(nav: Any) -> Iterator[str]:
    """The files of a navigation, in its order."""
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from named(item)


def file_of(path: Path, config: MkDocsConfig) -> File:
    source = path.relative_to(ROOT).as_posix()
    options = (str(ROOT), config.site_dir, config.use_directory_urls)
    file = File(source, *options)
    file.dest_uri = File(source.removeprefix(TEXTS), *options).dest_uri
    return file


def on_page_markdown(markdown: str, **_: Any) -> str:
    return HELP.sub(lambda found: f"```text\n{help_of(found[1]).strip()}\n```", markdown)


def help_of(command: str) -> str:
    """What ``COMMAND --help`` prints."""
    if command.endswith(".sh"):
        words, template = [f"./{command}", "--help"], ROOT / "egs2/TEMPLATE/part"
        return subprocess.run(
            words, cwd=template, capture_output=True, text=True, check=True
        ).stdout
    main = importlib.import_module(f"espnet_part.bin.{command}").main
    with (
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.suppress(SystemExit),
        mock.patch("sys.argv", [command]),
        mock.patch.dict("os.environ", COLUMNS="100"),
    ):
        main(["--help"])
    return printed.getvalue()


class Equations(Extension):
    """Fences ``math``, and `` $`…`$ `` in a line."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(MathFence(md), "math_fence", 26)  # before other fences
        md.inlinePatterns.register(MathInLine(r"\$`([^`]+)`\$", md), "math", 195)  # before code


class MathFence(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        def drawn(found: re.Match[str]) -> str:
            assert self.md is not None
            return self.md.htmlStash.store(
                f'<div class="math">{convert(found[1].strip(), display="block")}</div>'
            )

        text = re.sub(r"^```math\n(.*?)^```$", drawn, "\n".join(lines), flags=re.M | re.S)
        return text.split("\n")


class MathInLine(InlineProcessor):
    def handleMatch(  # type: ignore[override]
        self, m: re.Match[str], data: str
    ) -> tuple[str, int, int]:
        return self.md.htmlStash.store(convert(m[1])), m.start(0), m.end(0)
