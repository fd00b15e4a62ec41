"""A real headless Chromium, driven by its DevTools protocol over aiohttp's WebSocket.

Runs on CPython, on Linux.  Source: chromedevtools.github.io/devtools-protocol.
"""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
"""Debian's; tests skip where it is absent."""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


class Page:
    """One tab.  What it logs, asks for and violates is gathered from `open` on."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())
        self._loaded = asyncio.Event()
        self.requests: list[str] = []
        """Each address that was asked for, of every kind of request."""
        self.problems: list[str] = []
        """Violations of the policy, errors of scripts, and what else the browser calls an error."""

    @classmethod
    async def open(cls, socket: aiohttp.ClientWebSocketResponse) -> "Page":
        page = cls(socket)
        for domain in ("Page", "Network", "Runtime", "Log"):
            await page.send(f"{domain}.enable")
        return page

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command."""
        ident = len(self._answers) + 1
        self._answers[ident] = asyncio.get_running_loop().create_future()
        await self._socket.send_str(json.dumps({"id": ident, "method": method, "params": params}))
        return await self._answers[ident]

    async def ask(self, script: str) -> Any:
        """What an expression is in the page; it may be a promise."""
        answer = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script: str) -> Any:
        """What an expression is as soon as it is true.  Looked at whenever the page changes."""
        return await self.ask(
            "new Promise(resolve => { const look = () => { const value = (() => { try { return ("
            + script
            + ") } catch { return null } })(); if (value) { seen.disconnect(); resolve(value); } };"
            "const seen = new MutationObserver(look);"
            "seen.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});"
            "look(); })"
        )

    async def go(self, url: str) -> None:
        """Load a document, to the end."""
        self._loaded.clear()
        await self.send("Page.navigate", url=url)
        await self._loaded.wait()

    async def emulate(self, width: int, height: int, colours: str) -> None:
        """A screen of this size, and which colours its user prefers."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        features = [{"name": "prefers-color-scheme", "value": colours}]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def press(self, key: str) -> None:
        """A key, down and up."""
        code = {"Tab": 9}[key]
        for kind in ("keyDown", "keyUp"):
            await self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    async def picture(self) -> str:
        """The whole page as PNG, in base64."""
        answer = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        return str(answer["data"])

    async def close(self) -> None:
        self._reader.cancel()
        await self._socket.close()

    async def _read(self) -> None:
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                future = self._answers[event["id"]]
                if not future.done():
                    if "error" in event:
                        future.set_exception(AssertionError(event["error"]))
                    else:
                        future.set_result(event["result"])
                continue
            self._hear(event["method"], event["params"])

    def _hear(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(params["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.problems.append(json.dumps(params["args"]))


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Page]:
    """A browser with one empty tab.  folder: for its files, new."""
    assert CHROMIUM
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "HOME": str(folder)},
    )
    assert process.stderr
    drained: asyncio.Task[bytes] | None = None
    try:
        while b"DevTools listening on" not in (line := await process.stderr.readline()):
            assert line, "Chromium ended before it listened"
        drained = asyncio.create_task(process.stderr.read())
        host = line.decode().split("ws://")[1].split("/")[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{host}/json/list") as response:
                tabs = await response.json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                page = await Page.open(socket)
                try:
                    yield page
                finally:
                    await page.close()
    finally:
        # Its session is its own: the browser with all of its helpers, and nobody else.
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if drained:
            await drained
