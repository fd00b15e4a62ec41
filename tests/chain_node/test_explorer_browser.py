"""The explorer in a real headless Chromium: a chain of four, one of them killed, and whoever looks at it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chain_node.dev import DevNode
from chain_node.did_ledger import DidRegister
from chain_node.transaction import Body, Transaction, Transfer
from puf.did import ED25519, did_cpc, did_key
from puf.did_document import AUTHENTICATION, INVOCATION, Key, make
from tests.chain_node.world import ALICE, BOB
from tests.devtools import CHROMIUM, Page, chromium

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]

SCRIPT = b"<img src=x onerror=alert(1)><script>alert(2)</script>"
TURNED = "safe\u202egpj.exe\u2066\u0007".encode()
JUNK = bytes(range(192, 256))
PHONE, DESK = (360, 740), (1180, 800)
SETTLED = (
    "!document.querySelector('main[aria-busy]')"
    " && !['Loading', 'Asking the node'].includes(document.querySelector('main').textContent)"
    " && document.querySelector('main').textContent"
)
WAIT_S = 60
"""For a hang, not a measure."""


class Story:
    """A chain of four validators, Alice with money on it, and a browser that looks at it."""

    def __init__(self, dev: DevNode, page: Page) -> None:
        self.dev, self.page, self._nonce = dev, page, 0

    async def final(self, *bodies: Body) -> list[tuple[str, int]]:
        """Hash and height of each, once they are in blocks."""
        node, hashes = self.dev.node, []
        for body in bodies:
            made = Transaction.sign(ALICE, self.dev.genesis.chain_id, self._nonce, body, 1_000)
            self._nonce += 1
            hashes.append(node.submit(made.data))
        found = []
        for tx_hash in hashes:
            while not (place := node.storage.find_transaction(tx_hash)):
                await node.wait_for_height(node.head.height + 1)
            found.append((tx_hash.hex(), place[0]))
        return found

    async def look(self, fragment: str) -> str:
        """What is written on a page."""
        await self.page.ask(f"location.hash = {fragment!r}")
        return str(await self.page.until(f"location.hash === {fragment!r} && {SETTLED}"))

    async def text(self, selector: str) -> str:
        return str(await self.page.ask(f"document.querySelector({selector!r}).textContent"))


def tell(path: Path, story: Callable[[Story], Awaitable[None]], heartbeat_ms: int = 2_000) -> None:
    async def run() -> None:
        async with (
            asyncio.timeout(WAIT_S),
            DevNode.create_or_open(
                path / "chain",
                0,
                validator_count=4,
                block_period_ms=50,
                heartbeat_ms=heartbeat_ms,
                timeout_ms=400,
            ) as dev,
            chromium(path / "browser") as page,
        ):
            async with aiohttp.ClientSession() as session:
                params = {"account": ALICE.public.hex(), "amount_ucpc": 1_234_567_890}
                body = {"jsonrpc": "2.0", "id": 1, "method": "dev_fund", "params": params}
                async with session.post(dev.url, json=body) as response:
                    assert (await response.json())["result"]
            while not dev.node.next_nonce(ALICE.public) and not await funded(dev):
                await dev.node.wait_for_height(dev.node.head.height + 1)
            await page.emulate(*DESK, "light")
            await page.go(dev.url)
            await story(Story(dev, page))
            origin = dev.url.rstrip("/")
            assert [url for url in page.requests if url.startswith(origin)], "the log works"
            at_home = (origin, origin.replace("http", "ws"))
            assert [url for url in page.requests if not url.startswith(at_home)] == []
            assert page.problems == []

    asyncio.run(run())


async def funded(dev: DevNode) -> bool:
    state: Any = dev.node.replica._state
    return bool(state.account(ALICE.public).balance_ucpc)


def test_blocks_come_and_an_impeachment_shows_with_its_reason(tmp_path: Path) -> None:
    async def story(told: Story) -> None:
        page, dev = told.page, told.dev
        first = int(await page.until("document.querySelector('[data-figure=height]')?.textContent"))
        await page.until(f"Number(document.querySelector('[data-figure=height]').textContent) > {first}")
        assert await told.text("#chain-name") == "dev"
        assert await page.ask("document.querySelectorAll('.lights [data-validator]').length") == 4
        assert await page.ask("document.querySelector('#impeachments')") is None
        # The page is kept, not made anew: who tabs through it is not thrown back.
        await page.ask("document.querySelector('[data-validator=\"1\"] a').focus()")
        await dev.kill(2)
        said = await page.until("document.querySelector('#impeachments li')?.textContent")
        assert "V3" in said
        assert "because no block of this proposer came in the time it had." in said
        assert await page.ask("document.activeElement === document.querySelector('[data-validator=\"1\"] a')")
        assert await page.ask("document.querySelectorAll('[data-validator=\"2\"] .light.bad').length") >= 1

        height = int(await page.ask("document.querySelector('#impeachments a').textContent"))
        block = await told.look(f"#/block/{height}")
        assert "impeachment" in block
        assert "no block of this proposer came in the time it had" in await told.text("#impeachment")
        signed = "[...document.querySelectorAll('#certificate .signed')].map(each => each.dataset.validator)"
        assert await page.ask(signed) == ["0", "1", "3"]
        assert "impeached" in await told.look("#/validators")
        assert "in its place" not in await told.look(f"#/account/{dev.genesis.validators[2].hex()}")
        assert "validator V3" in await told.text(".heading")
        assert "impeached" in await told.text("main")

    tell(tmp_path, story, heartbeat_ms=300)


def test_every_page_in_the_light_in_the_dark_and_on_a_phone(tmp_path: Path) -> None:
    async def story(told: Story) -> None:
        page = told.page
        document = make([Key(ED25519, AUTHENTICATION | INVOCATION, ALICE.public)])
        name = did_cpc(document.name())
        half = 800_000_000
        made = await told.final(
            Transfer(BOB.public, half), Transfer(BOB.public, half + 1), DidRegister(document)
        )
        (_, height), (refused, _), (registered, _) = made

        shown = await told.look(f"#/tx/{refused}")
        assert await told.text("#outcome") == "The balance does not cover fee and amount together."
        assert "800.000001 CPC" in shown
        assert "checked in this browser" in shown
        assert await page.ask("document.querySelectorAll('#proof .holds').length") == 3
        assert await page.ask("document.querySelectorAll('#proof .broken').length") == 0
        assert "434.564890" not in await told.look(f"#/account/{ALICE.public.hex()}")
        assert await told.text("#balance") == "434.56489 CPC", "1,234.567890 without 800 and three fees"
        assert did_key(ALICE.public) in await told.text("main")
        assert name in await told.look(f"#/did/{name}")
        assert f'"id": "{name}"' in await told.text("#document")

        # Searching finds each by its name.
        for text, there in (
            (str(height), f"#/block/{height}"),
            (refused, f"#/tx/{refused}"),
            (block_hash(told, height), f"#/block/{height}"),
            (did_key(ALICE.public), f"#/account/{ALICE.public.hex()}"),
            (ALICE.public.hex(), f"#/account/{ALICE.public.hex()}"),
            (name, f"#/did/{name}"),
        ):
            await page.ask(
                f"document.querySelector('#query').value = ' {text} ';"
                "document.querySelector('#search').requestSubmit()"
            )
            await page.until(f"location.hash === {there!r} && {SETTLED}")
        assert "Nothing found" in await told.look("#/search/nonsense")
        assert "not there yet" in await told.look("#/block/99999999")
        assert "Nothing here" in await told.look("#/nowhere")
        assert "no peers" in await told.look("#/peers")

        fragments = [
            "#/",
            "#/blocks",
            f"#/block/{height}",
            f"#/tx/{refused}",
            f"#/tx/{registered}",
            f"#/account/{ALICE.public.hex()}",
            f"#/did/{name}",
            "#/validators",
            "#/peers",
        ]
        grounds = {}
        for colours in ("light", "dark"):
            await page.emulate(*PHONE, colours)
            grounds[colours] = await page.ask("getComputedStyle(document.body).backgroundColor")
            for fragment in fragments:
                await told.look(fragment)
                assert await page.ask("document.documentElement.scrollWidth") <= PHONE[0], fragment
                assert await page.ask(WEAK) == [], (colours, fragment)
                assert await page.ask(UNNAMED) == [], fragment
        assert grounds == {"light": "rgb(244, 246, 250)", "dark": "rgb(15, 20, 28)"}
        # The switch goes against what the system prefers, and is remembered.
        await page.ask("document.querySelector('#theme').click()")
        assert await page.ask("getComputedStyle(document.body).backgroundColor") == grounds["light"]
        await page.go(told.dev.url)
        assert await page.ask("getComputedStyle(document.body).backgroundColor") == grounds["light"]

    tell(tmp_path, story)


def test_what_strangers_write_stays_text(tmp_path: Path) -> None:
    async def story(told: Story) -> None:
        page = told.page
        made = await told.final(*(Transfer(BOB.public, 1, memo) for memo in (SCRIPT, TURNED, JUNK)))
        script, turned, junk = (f"#/tx/{tx_hash}" for tx_hash, _ in made)
        await told.look(script)
        assert await told.text(".foreign") == SCRIPT.decode()
        assert await page.ask("document.querySelectorAll('main script, main img').length") == 0
        await told.look(turned)
        assert await told.text(".foreign") == "safeU+202Egpj.exeU+2066U+0007"
        assert JUNK.hex() in await told.look(junk)
        await page.emulate(*PHONE, "light")
        for fragment in (script, turned, junk):
            await told.look(fragment)
            assert await page.ask("document.documentElement.scrollWidth") <= PHONE[0]
        text = await told.look("#/search/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
        assert "<img src=x onerror=alert(1)>" in text
        assert await page.ask("document.querySelectorAll('main img').length") == 0
        # The policy itself forbids what no file does.
        attempt = "try { document.body.innerHTML = '<p>'; 'done' } catch (error) { error.name }"
        assert await page.ask(attempt) == "TypeError"
        assert await page.ask("document.querySelector('main') !== null")
        violations = [each for each in page.problems if "TrustedHTML" in each]
        assert violations, "the log sees what breaks the policy"
        page.problems = [each for each in page.problems if each not in violations]

    tell(tmp_path, story)


def test_a_node_that_is_gone_is_told_of_and_what_was_there_stays(tmp_path: Path) -> None:
    async def story(told: Story) -> None:
        page = told.page
        await page.until("/told of each block/.test(document.querySelector('#link').textContent)")
        tabbed = "document.activeElement.textContent"
        await page.press("Tab")
        assert await page.ask(tabbed) == "Skip to content"
        await page.press("Tab")
        assert await page.ask(tabbed) == "dev"
        # The clipboard of a headless browser is nobody's; what is copied is seen by what is asked to be.
        await page.ask(
            "navigator.clipboard.writeText = async text => { globalThis.copied = text };"
            "document.querySelector('.lights .copy').click()"
        )
        assert await page.until("globalThis.copied") == told.dev.genesis.validators[0].hex()
        assert await page.until("document.querySelector('#announce').textContent") == "account copied"

        await told.dev._server.stop()
        said = await page.until("document.querySelector('#trouble')?.textContent")
        assert said == "The node cannot be asked: the node does not answer. What is shown may be old."
        assert "The node cannot be asked" in await told.text("#link")
        assert await page.ask("document.querySelectorAll('.lights li').length") == 4
        text = await told.look("#/block/1")
        assert "the node does not answer" in text
        assert "Try again" in text
        page.problems = [each for each in page.problems if "ERR_CONNECTION_REFUSED" not in each]

    tell(tmp_path, story)


def block_hash(told: Story, height: int) -> str:
    block = told.dev.node.storage.block(height)
    assert block
    return block.header.block_hash.hex()


WEAK = """(() => {
const parts = text => text.match(/[\\d.]+/g).map(Number);
const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const ground = each => {
  for (; each; each = each.parentElement) {
    const own = parts(getComputedStyle(each).backgroundColor);
    if (own.length < 4 || own[3] > 0) return own;
  }
  return [255, 255, 255];
};
const weak = [];
for (const each of document.querySelectorAll('body *')) {
  if (![...each.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
  const both = [light(parts(getComputedStyle(each).color)), light(ground(each))].sort((x, y) => y - x);
  if ((both[0] + 0.05) / (both[1] + 0.05) < 4.5) weak.push(each.className + ': ' + each.textContent);
}
return weak; })()"""
"""Texts whose contrast is below 4.5.  Source: WCAG 2.2, success criterion 1.4.3."""
UNNAMED = """[...document.querySelectorAll('a, button, input, section, nav')].filter(each =>
  !(each.textContent.trim() || each.getAttribute('aria-label') || each.labels?.length)
).map(each => each.className)"""
"""What a screen reader would have no name for."""
