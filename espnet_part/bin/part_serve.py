"""Serve a trained model over HTTP."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_part.command import HelpFormatter, command, count, str2bool
from espnet_part.decode.arguments import (
    MODEL,
    add_device_argument,
    add_search_arguments,
    add_window_arguments,
    load_model,
    search_settings,
    window_settings,
)
from espnet_part.errors import ConfigError
from espnet_part.serve.settings import Settings


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="part_serve",
        description="Transcribes and translates speech over HTTP, as OpenAI's clients ask for it "
        "(/v1/audio/transcriptions, /v1/audio/translations), from microphones over a WebSocket "
        "(/v1/audio/stream), and on a page for browsers (/). Windows of all clients are decoded "
        "together. Needs the extra: pip install 'espnet_part[serve]'.",
        epilog="""examples:
  part_serve exp/part
  part_serve model.zip --host 0.0.0.0 --port 8000 --api_keys keys.txt
  curl http://127.0.0.1:8000/v1/audio/transcriptions -F file=@talk.mp3 -F language=de

SIGTERM and Ctrl-C let requests end that are at work; a second Ctrl-C does not.""",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help=MODEL,
    )
    parser.add_argument(
        "--name", help="what clients call the model; by default the last part of MODEL"
    )
    network = parser.add_argument_group("network")
    network.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    network.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    network.add_argument(
        "--api_keys",
        metavar="FILE",
        help="a key a line; clients send one of them (Authorization: Bearer KEY)",
    )
    network.add_argument(
        "--allow_anyone",
        type=str2bool,
        default=False,
        metavar="true|false",
        help="without keys, also at a --host that others reach",
    )
    limits = parser.add_argument_group("limits")
    defaults = Settings()
    for key, metavar, said in (
        ("max_upload_mb", "MB", "largest file"),
        ("max_duration", "SECONDS", "longest audio of a file or a stream"),
        ("request_timeout", "SECONDS", "longest time of a file, from its first byte to its text"),
        ("partial_seconds", "SECONDS", "between two guesses at what is being said, of a stream"),
        ("grace", "SECONDS", "that requests have to end when the server is stopped"),
    ):
        default = getattr(defaults, key)
        limits.add_argument(f"--{key}", type=float, default=default, metavar=metavar, help=said)
    limits.add_argument(
        "--queue_size",
        type=count,
        default=defaults.queue_size,
        metavar="N",
        help="files and streams at once, and windows that wait; others are told to come later (429)",
    )
    windows = parser.add_argument_group("windows")
    add_window_arguments(windows)
    decoding = parser.add_argument_group("decoding")
    add_device_argument(decoding)
    add_search_arguments(decoding)
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level=args.log_level.upper(), format="%(levelname)s: %(message)s")
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"the package {error.name} is not installed: pip install 'espnet_part[serve]'"
        ) from None
    from espnet_part.config import build
    from espnet_part.serve.keys import Keys
    from espnet_part.serve.server import check_open, listen, serve

    # everything that can be wrong without the model is told before it is loaded
    values = {key: getattr(args, key) for key in vars(Settings()) if hasattr(args, key)}
    search, windows = search_settings(args), window_settings(args)
    settings: Settings = build(Settings, values, "part_serve")
    keys = Keys.load(args.api_keys)
    check_open(args.host, keys, args.allow_anyone)
    name = args.name or Path(args.model).resolve().stem
    with listen(args.host, args.port) as listener:
        from espnet_part.pack.stored import find_model

        stored = find_model(args.model)

        def load() -> Any:
            from espnet_part.serve.model import ServedModel

            return ServedModel(load_model(stored, args, search), windows)

        serve(listener, name, settings, keys, load)


if __name__ == "__main__":
    main()
