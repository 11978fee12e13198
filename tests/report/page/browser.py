"""A headless Chromium that opens a page and says what became of it, by its debugging pipe.

The pipe (JSON between zero bytes) needs no further package and no open port.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_SECONDS = 120.0
"""For an answer, on a loaded machine."""


@dataclass
class Browser:
    """One tab.

    Attributes:
        complaints: messages of the console and errors of scripts.
        requests: addresses that were asked for, without what stands in the page itself.
    """

    to: int
    back: int
    profile: Path
    session: str = ""
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _number: int = 0
    _buffer: bytes = b""
    _loaded: bool = False

    def open(self, page: Path | str, width: int, height: int = 900) -> None:
        """Load a file, or an address, in a window of this width, and wait until it is drawn."""
        self.complaints.clear()
        self.requests.clear()
        self._loaded = False
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        url = page.resolve().as_uri() if isinstance(page, Path) else page
        self.ask("Page.navigate", url=url)
        end = time.monotonic() + _SECONDS
        while not self._loaded:
            self._hear(end)
        self.value("document.fonts.ready.then(() => 1)")

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path, top: int = 0, height: int | None = None) -> None:
        """A PNG of the page from a line on, by default of all of it."""
        width = self.value("document.documentElement.clientWidth")
        whole = self.value("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": top, "width": width, "height": height or whole - top, "scale": 1}
        answer = self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data) :]
        end = time.monotonic() + _SECONDS
        while True:
            answer = self._hear(end)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _hear(self, end: float) -> dict[str, Any]:
        """The next message; events are noted on the way."""
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self.back], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self.back, 1 << 20) if ready else b""
            if not data:
                raise TimeoutError("Chromium says nothing")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(params)[:2000])
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("data:", "file:")):
                self.requests.append(url)
        elif method == "Page.loadEventFired":
            self._loaded = True


@contextmanager
def started_browser(profile: Path, *more: str) -> Iterator[Browser]:
    """Start Chromium with a profile of its own and more options, and end it."""
    assert CHROMIUM is not None
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    options = [
        "--headless=new",
        "--no-sandbox",  # root has none
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--hide-scrollbars",
        f"--user-data-dir={profile}",
        "--remote-debugging-pipe",
        *more,
        "about:blank",
    ]
    # the pipe's ends must be descriptors 3 and 4
    shell = f'exec "$@" 3<&{in_read} 4>&{out_write}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", CHROMIUM, *options],
        pass_fds=(in_read, out_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(profile.parent / "chromium.log").open("wb"),
        env={**os.environ, "HOME": str(profile.parent)},
    )
    os.close(in_read)
    os.close(out_write)
    browser = Browser(in_write, out_read, profile)
    try:
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)
        browser.session = session["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.ask(f"{domain}.enable")
        yield browser
    finally:
        os.close(in_write)
        os.close(out_read)
        process.terminate()
        process.wait(30)
