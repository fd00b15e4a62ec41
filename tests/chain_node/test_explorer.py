"""The explorer's files: how they are served, that nothing else is, and that none leads away from the node."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from chain_node.explorer import POLICY, Explorer, read_files
from chain_node.impeachment import Why
from chain_node.reason import Reason
from chain_node.transaction import KINDS

FILES = read_files()
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
SVG = "http://www.w3.org/2000/svg"
"""A name, not an address that anybody asks."""


def serve(story: Callable[[URL, aiohttp.ClientSession], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        application = web.Application()
        application.router.add_routes(Explorer().routes())
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            async with aiohttp.ClientSession() as session:
                return await story(URL(f"http://127.0.0.1:{runner.addresses[0][1]}/"), session)
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def text(name: str) -> str:
    return FILES[name].decode()


def test_every_file_is_served_with_its_type_and_the_policy() -> None:
    async def story(url: URL, session: aiohttp.ClientSession) -> None:
        for name, data in FILES.items():
            async with session.get(url / "explorer" / name) as response:
                assert (response.status, await response.read()) == (200, data)
                assert response.content_type == TYPES[name.rpartition(".")[2]]
                assert response.charset == "utf-8"
                assert response.headers["Content-Security-Policy"] == POLICY
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Cache-Control"] == "no-cache"
        async with session.get(url) as response:
            assert (response.status, response.content_type) == (200, "text/html")
            assert await response.read() == FILES["index.html"]
            assert response.headers["Content-Security-Policy"] == POLICY

    assert {"index.html", "style.css", "app.js", "icon.svg"} <= set(FILES)
    serve(story)


def test_the_policy_allows_only_this_node_and_no_markup_from_texts() -> None:
    rules = dict(rule.split(" ", 1) for rule in POLICY.split("; "))
    assert rules["default-src"] == "'none'"
    assert {rules[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert rules["require-trusted-types-for"] == "'script'"
    assert rules["frame-ancestors"] == "'none'"


def test_what_the_browser_has_is_not_sent_again() -> None:
    async def story(url: URL, session: aiohttp.ClientSession) -> None:
        async with session.get(url) as response:
            tag = response.headers["ETag"]
        async with session.get(url, headers={"If-None-Match": tag}) as response:
            assert (response.status, await response.read()) == (304, b"")
            assert response.headers["ETag"] == tag
        async with session.get(url, headers={"If-None-Match": '"another"'}) as response:
            assert response.status == 200

    serve(story)


@pytest.mark.parametrize(
    "path",
    [
        "explorer/../explorer.py",
        "explorer/..%2fexplorer.py",
        "explorer/%2e%2e/explorer.py",
        "explorer/..%5cexplorer.py",
        "explorer/%2fetc%2fpasswd",
        "explorer//etc/passwd",
        "explorer/app.js/",
        "explorer/app.js%00.html",
        "explorer/nothing.js",
        "explorer/",
        "explorer",
        "etc/passwd",
    ],
)
def test_no_path_leads_to_anything_else(path: str) -> None:
    async def story(url: URL, session: aiohttp.ClientSession) -> int:
        async with session.get(URL(str(url) + path, encoded=True)) as response:
            return response.status

    assert serve(story) == 404


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_file_names_a_foreign_address_or_makes_markup_of_texts(name: str) -> None:
    content = text(name).replace(SVG, "")
    assert not re.findall(r"\w+://|(?<=[\"'(])//\w|@import|url\(", content)
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc"
    )
    assert not re.findall(forbidden, content)
    assert not re.search(r"\sstyle=|\son\w+=\"", content)


def test_every_file_that_is_named_is_there_and_every_one_there_is_named() -> None:
    named = set(re.findall(r'(?:src|href)="/explorer/([^"]+)"', text("index.html")))
    for name in FILES:
        if name.endswith(".js"):
            named |= set(re.findall(r'from "\./([^"]+)"', text(name)))
    assert named | {"index.html"} == set(FILES)


def test_there_are_words_for_every_reason_kind_and_impeachment() -> None:
    words = text("words.js")

    def keys(constant: str) -> list[str]:
        block = re.search(rf"const {constant} = {{\n(.*?)\n}};", words, re.DOTALL)
        assert block
        return re.findall(r"^  (\w+): \"", block[1], re.MULTILINE)

    assert keys("REASONS") == [reason.label for reason in Reason]
    assert keys("WHY") == [why.value for why in Why]
    # In the order of their numbers, by which they are also found.
    names = [re.sub(r"(?<!^)([A-Z])", r"_\1", KINDS[number].__name__).lower() for number in sorted(KINDS)]
    assert keys("KINDS") == names
    assert sorted(KINDS) == list(range(1, len(KINDS) + 1))
