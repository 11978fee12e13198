"""The page for browsers: files of the package, which load nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Response

_FOLDER = Path(__file__).with_name("page")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def add_page(app: FastAPI) -> None:
    """Serve each file under its name, and index.html at the root."""
    for path in sorted(_FOLDER.iterdir()):
        if path.suffix in _TYPES:
            name = "/" if path.name == "index.html" else f"/{path.name}"
            _add(app, name, path.read_text(encoding="utf-8"), _TYPES[path.suffix])


def _add(app: FastAPI, name: str, content: str, kind: str) -> None:
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}

    @app.get(name, include_in_schema=False)
    async def file() -> Response:
        return Response(content, media_type=kind, headers=headers)
