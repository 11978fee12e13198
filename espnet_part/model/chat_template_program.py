"""Renders a chat template, in a process of its own: see `espnet_part.model.chat_template`.

Run as a program (``python -I chat_template_program.py``): reads one JSON object from stdin, writes
one to stdout. Imports nothing of this package, and no torch, so it starts in a tenth of a second.
"""

from __future__ import annotations

import datetime
import json
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class _Generation(Extension):
    """``{% generation %}`` marks what an assistant says, for others; here its text is just text."""

    tags = {"generation"}  # noqa: RUF012 (as the base class has it)

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_text"), [], [], body).set_lineno(line)

    def _text(self, caller: Callable[[], str]) -> str:
        return caller()


class _Dict:
    """``dict`` without the attributes of a type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


class _Namespace(jinja2.utils.Namespace):
    """``namespace()`` whose attributes are a template's own: none begins with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, args = args[0], args[1:]
        values = dict(*args, **kwargs)
        for name in values:
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: str) -> None:
    if name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace has no attribute {name!r}")


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def compile_template(template: str, now: datetime.datetime) -> jinja2.Template:
    """The template with what transformers' templates may use, at a fixed time."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    del environment.filters["random"], environment.globals["lipsum"]  # another text every time
    environment.globals["dict"] = _Dict()
    environment.globals["namespace"] = _Namespace
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = now.strftime
    return environment.from_string(template)


def _limit(seconds: float, memory: int) -> None:
    """From here on: so much CPU time, then SIGPROF ends the process; and so much memory in all."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _main() -> None:
    asked = json.load(sys.stdin)
    _limit(asked["seconds"], asked["memory"])
    try:
        template = compile_template(asked["template"], datetime.datetime(*asked["date"]))
        texts = [
            template.render(
                messages=conversation["messages"],
                tools=None,
                documents=None,
                add_generation_prompt=conversation["add_generation_prompt"],
                **asked["variables"],
            )
            for conversation in asked["conversations"]
        ]
        if sum(map(len, texts)) > asked["length"]:
            answer: dict[str, Any] = {"error": f"more than {asked['length']} characters of text"}
        else:
            answer = {"texts": texts}
    except MemoryError:
        answer = {"error": "it needs too much memory"}
    except Exception as error:  # a template raises what it likes
        answer = {"error": f"{type(error).__name__}: {error}"[:1000]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    _main()
