"""Debian's Chromium without a window, driven over a pipe by its own protocol: no driver, no library.

https://chromedevtools.github.io/devtools-protocol/ Messages are JSON that ends in a NUL octet, on
descriptors 3 (to it) and 4 (from it), as `--remote-debugging-pipe` has them.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chat.deadline import until

SECONDS = 60.0
# The browser gives up what it loads, because another process boots or ends a host of the lab.
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"


class Browser:
    """One page. Certificates may be anybody's: the lab's authority is no browser's.

    `switches`: more of the program's. `namespace`: a network namespace whose interfaces stay as they are, so
    that no host of the lab which another process boots or ends makes the browser give up a page or an order.
    """

    def __init__(self, profile: Path, *switches: str, namespace: str | None = None) -> None:
        program = shutil.which("chromium")
        assert program is not None, "apt-get install chromium"
        theirs, self._to = os.pipe()
        self._from, ours = os.pipe()

        def descriptors() -> None:
            # Both first to numbers that are neither 3 nor 4.
            first, second = os.dup2(theirs, 103), os.dup2(ours, 104)
            os.dup2(first, 3)
            os.dup2(second, 4)

        words = [
            *(["ip", "netns", "exec", namespace] if namespace else []),
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--disable-background-networking", "--disable-component-update", "--no-first-run",
            "--ignore-certificate-errors", "--remote-debugging-pipe", f"--user-data-dir={profile}", *switches,
        ]  # fmt: skip
        self._log = (profile.parent / "chromium.log").open("wb")
        self._process = subprocess.Popen(
            words, preexec_fn=descriptors, close_fds=False, stdout=self._log, stderr=self._log
        )
        os.close(theirs)
        os.close(ours)
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        # What the page complained of: CSP, scripts, requests that failed.
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        # As if its window were in front.
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have something done, and wait for it."""
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            asked["sessionId"] = self._session
        os.write(self._to, json.dumps(asked).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, f"{method}: {said['error']}"
                result: dict[str, Any] = said["result"]
                return result
            self._note(said)
        raise TimeoutError(method)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], SECONDS)
            octets = os.read(self._from, 1 << 16) if ready else b""
            assert octets, "chromium has ended, or says nothing"
            self._rest += octets
        line, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        return said

    def _note(self, said: dict[str, Any]) -> None:
        if said.get("method") == "Log.entryAdded":
            self.complaints.append(said["params"]["entry"]["text"])
        elif said.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(said["params"]["exceptionDetails"]["text"]))

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, url: str) -> None:
        """Go there, and wait until it is there."""

        def is_there() -> bool:
            self.evaluate("document.documentElement.dataset.old = 'yes'")
            error = self.call("Page.navigate", url=url).get("errorText", "")
            assert error in ("", NETWORK_CHANGED), f"{url}: {error}"
            if error:
                return False
            self.arrived()
            # The browser's own page about an earlier try may come after that try.
            return bool(self.evaluate("location.protocol != 'chrome-error:'"))

        until("the browser goes there", is_there, SECONDS)

    def arrived(self) -> None:
        """Wait until another page is loaded."""

        def loaded() -> bool:
            try:
                return bool(
                    self.evaluate(
                        "document.readyState == 'complete' && !document.documentElement.dataset.old"
                    )
                )
            except AssertionError:  # the page of a moment ago is gone
                return False

        until("the page is loaded", loaded, SECONDS, every=0.05)

    def leave(self, action: Callable[[], object]) -> None:
        """Do what leads to another page, and wait for that."""
        self.evaluate("document.documentElement.dataset.old = 'yes'")
        action()
        self.arrived()

    def type(self, text: str) -> None:
        """Keys, where the focus is."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int, text: str = "") -> None:
        """One key."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def look(self, *, dark: bool, width: int, height: int = 900) -> None:
        """A screen of that size, light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def scripts(self, allowed: bool) -> None:
        """Whether pages may run any."""
        self.call("Emulation.setScriptExecutionDisabled", value=not allowed)

    def picture(self, file: Path, *, all_of_it: bool = True) -> None:
        """The page, as far as it goes or as far as the screen does."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=all_of_it)["data"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(data))

    def text(self) -> str:
        """The page, without a script's help; empty while another one takes its place."""
        root = self.call("DOM.getDocument", depth=0)["root"]["nodeId"]
        try:
            return str(self.call("DOM.getOuterHTML", nodeId=root)["outerHTML"])
        except AssertionError:
            return ""

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(SECONDS)
        os.close(self._to)
        os.close(self._from)
        self._log.close()


def log_in(browser: Browser, home: str, password: str) -> None:
    """Log in at the admin pages by the keyboard alone. The field gets the focus at the first frame."""
    browser.open(home)
    focus = "document.activeElement.name"
    until("the field has the focus", lambda: browser.evaluate(focus) == "password", 60, every=0.05)
    browser.type(password)
    browser.leave(lambda: browser.press("Enter", 13, "\r"))
    browser.complaints.clear()  # of the 401 with the form
