"""A real headless Chromium, spoken to over its debugging pipe; no driver and no package needed."""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
WHY_NOT = "no Chromium on this machine (Debian: apt-get install chromium)"


class Page:
    """One page: commands go to the pipe, every console message, exception and request is kept."""

    def __init__(self, to_browser: int, from_browser: int, deadline: float) -> None:
        self._to, self._from, self._deadline = to_browser, from_browser, deadline
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._receive()
            if reply.get("id") == number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']}")
                return reply["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = self._deadline - time.monotonic()
            waiting = select.poll()  # not select(), which refuses the numbers of files above 1023
            waiting.register(self._from, select.POLLIN | select.POLLHUP)
            if left <= 0 or not waiting.poll(left * 1000):
                raise TimeoutError("Chromium did not reply in time")
            part = os.read(self._from, 1 << 20)
            if not part:
                raise RuntimeError("Chromium closed its pipe")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        method, content = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(content["exceptionDetails"])[:400])
        elif method == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(content["args"])[:400])
        elif method == "Log.entryAdded" and content["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{content['entry']['text']} {content['entry'].get('url', '')}"[:400])
        elif method == "Network.requestWillBeSent":
            self.requests.append(content["request"]["url"])
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(f"a dialog opened: {content['message']}")
            self._session_dismiss()
        return message

    def _session_dismiss(self) -> None:
        message = {
            "id": 0,
            "method": "Page.handleJavaScriptDialog",
            "params": {"accept": False},
            "sessionId": self._session,
        }
        os.write(self._to, json.dumps(message).encode() + b"\0")

    def open(self, place: Path | str, fragment: str = "") -> None:
        """Open a file or an address and wait until the page says that its data are read."""
        self.command("Page.navigate", url="about:blank")
        self.requests.clear()
        address = place.resolve().as_uri() if isinstance(place, Path) else place
        self.command("Page.navigate", url=address + fragment)
        self.wait("location.protocol !== 'about:' && document.documentElement?.dataset.ready === 'true'")

    def wait(self, condition: str) -> None:
        """Wait until a condition holds."""
        while not self._holds(condition):
            if time.monotonic() > self._deadline:
                raise TimeoutError(f"{condition}; the page told: {self.problems}")
            time.sleep(0.02)

    def _holds(self, condition: str) -> bool:
        try:
            return bool(self.evaluate(condition))
        except RuntimeError as error:
            # A page that loads anew takes its old self away in the middle of a question.
            if "context" in str(error) or "navigated" in str(error) or "TypeError" in str(error):
                return False
            raise

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:600])
        return result["result"].get("value")

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """Show the page at a size, in light or dark."""
        phone = width < 600
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Save a picture of the page, or of what is in view."""
        import base64

        data = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def open_browser(directory: Path, seconds: float = 60.0) -> Iterator[Page]:
    """Start Chromium with a profile of its own in ``directory``; it is ended, with its children, at the end."""
    if CHROMIUM is None:
        raise RuntimeError(WHY_NOT)
    read_by_browser, to_browser = os.pipe()
    from_browser, written_by_browser = os.pipe()

    def wire() -> None:
        # The pipe's ends are expected at 3 and 4; copies above both first, so that neither overwrites the other.
        high_read, high_write = os.dup(read_by_browser), os.dup(written_by_browser)
        while high_read < 5 or high_write < 5:
            high_read, high_write = os.dup(high_read), os.dup(high_write)
        os.dup2(high_read, 3)
        os.dup2(high_write, 4)

    process = subprocess.Popen(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--remote-debugging-pipe",
            f"--user-data-dir={directory / 'chromium'}",
        ],
        preexec_fn=wire,
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(directory)},
    )
    os.close(read_by_browser)
    os.close(written_by_browser)
    try:
        yield Page(to_browser, from_browser, time.monotonic() + seconds)
    finally:
        process.kill()
        process.wait()
        os.close(to_browser)
        os.close(from_browser)
