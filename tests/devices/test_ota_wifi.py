"""An update by HTTP on loopback: from a server that breaks off, knows no ranges, or is none."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from devices.firmware_build import write_tree
from devices.firmware_pack import marker, pack, read_files
from devices.micropython import ota_receiver as ota
from devices.micropython import ota_wifi
from devices.micropython.ota import Receiver
from devices.micropython.ota_wifi import Fetcher, parse_url
from devices.micropython.slots import NONE, Slots, State
from puf.ed25519 import SigningKey
from puf.errors import DecodeError
from tests.devices import compiled
from tests.devices.drop_server import DropServer

SCRIPT = Path(__file__).with_name("fetch_on_board.py")
MAINS = ["devices/micropython/ota.py", "devices/micropython/ota_wifi.py"]
KEY = SigningKey(b"publisher".ljust(32, b"."))
OLD = {"big.bin": bytes(range(256)) * 80, "main.bin": b"old" * 1_000}
NEW = OLD | {"main.bin": b"new" * 1_000, "more.bin": b"more" * 700}
UPDATE = pack(NEW, KEY, "lock", 2)


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    write_tree(tmp_path / "a", OLD)
    (tmp_path / "a" / "slot").write_bytes(marker(OLD, "lock", 1, 0))
    Slots(f"{tmp_path}/")._write(State(0, 0, NONE, 0, 0, 0))
    return tmp_path


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ota_wifi, "PAUSE_MS", 1)


def fetcher(told: list[str]) -> Fetcher:
    async def join(name: str, key: str) -> None:
        told.append(f"joins {name}")

    return Fetcher(join, lambda: told.append("leaves"), lambda: 0, told.append)


def fetch(flash: Path, url: str, made: Fetcher | None = None) -> int:
    return asyncio.run((made or fetcher([])).fetch(url, Receiver(f"{flash}/", KEY.public, "lock", "esp32")))


def assert_staged(flash: Path) -> None:
    assert read_files(flash / "b") == NEW
    assert Slots(f"{flash}/").is_whole(1)
    assert Slots(f"{flash}/").state.pending == 1


def never(_: int) -> None:
    return None


def test_it_fetches_what_the_board_lacks_and_no_more(flash: Path) -> None:
    made = fetcher([])
    with DropServer(UPDATE.encode(), never) as server:
        assert fetch(flash, server.url, made) == ota.STAGED
    assert_staged(flash)
    base = len(UPDATE.encode()) - len(UPDATE.stream)
    # The head; the list; then the files after the large one, which is there.
    after = base + UPDATE.firmware.list_size + len(OLD["big.bin"])
    assert server.requests == [0, base, after]
    assert made.received_count < len(UPDATE.stream) - len(OLD["big.bin"]) + 2_000


@pytest.mark.parametrize(
    "drop",
    [
        lambda _: 700,
        lambda count: -1 if count % 3 else 1_500,
        lambda count: [None, 1, 40, 333, 2_000, -1][count % 6],
    ],
    ids=["700 bytes", "mostly silent", "any"],
)
def test_a_server_that_breaks_off_is_asked_again_for_the_rest(
    flash: Path, drop: Callable[[int], int | None]
) -> None:
    with DropServer(UPDATE.encode(), drop) as server:
        assert fetch(flash, server.url) == ota.STAGED
    assert_staged(flash)
    assert len(server.requests) > 5


def test_a_server_without_ranges_sends_all_and_what_is_there_is_dropped(flash: Path) -> None:
    with DropServer(UPDATE.encode(), never, has_ranges=False) as server:
        assert fetch(flash, server.url) == ota.STAGED
    assert_staged(flash)


def test_it_goes_on_after_a_restart(flash: Path) -> None:
    with (
        DropServer(UPDATE.encode(), lambda count: 900 if count < 4 else -1) as server,
        pytest.raises(OSError, match="cannot be fetched"),
    ):
        fetch(flash, server.url)
    before = len(server.requests)
    with DropServer(UPDATE.encode(), never) as server:
        assert fetch(flash, server.url) == ota.STAGED
    assert_staged(flash)
    # The third brought something, too.
    assert before == 3 + ota_wifi.FAILURES_MAX


def test_what_is_no_update_or_not_there_is_an_error(flash: Path) -> None:
    with DropServer(b"<html>" + bytes(600), never) as server:
        with pytest.raises(DecodeError, match="begins with a statement"):
            fetch(flash, server.url)
        with pytest.raises(OSError, match="404"):
            fetch(flash, server.url.replace("lock", "shock"))
    with pytest.raises(OSError, match="cannot be fetched"):
        fetch(flash, server.url)
    assert not (flash / "b").exists()


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"HTTP/1.0 404 \xff\xfe\r\n\r\n", "404"),
        (b"HTTP/1.0 200 OK\r\nX-Long: " + b"x" * 70_000, "too long"),
    ],
    ids=["no UTF-8", "an endless line"],
)
def test_a_server_that_sends_garbage_does_not_end_all_fetching(flash: Path, head: bytes, why: str) -> None:
    async def story() -> None:
        async def join(name: str, key: str) -> None:
            raise AssertionError

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(head)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        told: asyncio.Queue[str] = asyncio.Queue()
        made = Fetcher(join, lambda: None, lambda: 0, told.put_nowait)
        running = asyncio.create_task(made.run(Receiver(f"{flash}/", KEY.public, "lock", "esp32")))
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        async with asyncio.timeout(10):
            for _ in range(2):
                assert made.begin(url, "", "")
                assert why in await told.get()
        running.cancel()
        server.close()

    asyncio.run(story())


def test_another_publishers_update_is_refused_after_its_head(flash: Path) -> None:
    other = pack(NEW, SigningKey(bytes(32)), "lock", 2)
    with DropServer(other.encode(), never) as server:
        assert fetch(flash, server.url) == ota.NOT_SIGNED
    assert server.requests == [0]


def test_a_damaged_file_on_the_server_is_never_staged(flash: Path) -> None:
    bad = bytearray(UPDATE.encode())
    bad[-5] ^= 1
    with DropServer(bytes(bad), never) as server:
        assert fetch(flash, server.url) == ota.FILE_WRONG
    assert Slots(f"{flash}/").state.pending == NONE


def test_one_fetch_at_a_time_and_only_what_is_a_url() -> None:
    async def main() -> None:
        made = fetcher([])
        assert not made.begin("ftp://host/file", "", "")
        assert not made.begin("http://", "", "")
        assert made.begin("http://127.0.0.1:1/x", "", "")
        assert not made.begin("http://127.0.0.1:1/x", "", "")

    asyncio.run(main())


def test_addresses() -> None:
    assert parse_url("http://gateway.local/lock.update") == (False, "gateway.local", 80, "/lock.update")
    assert parse_url("https://10.0.0.1:8443/a/b?c=d") == (True, "10.0.0.1", 8443, "/a/b?c=d")
    assert parse_url("https://h") == (True, "h", 443, "/")
    for bad in (
        "",
        "http:/x",
        "http://h:0/",
        "http://h:70000/",
        "http://h:x/",
        "http://a b/",
        "http://h/\r\nX: y",
    ):
        with pytest.raises(ValueError, match="URL"):
            parse_url(bad)
    with pytest.raises(ValueError, match="URL"):
        parse_url("http://h/" + "x" * 256)


def test_a_board_does_it_with_its_own_asyncio_in_its_own_heap(flash: Path) -> None:
    with DropServer(UPDATE.encode(), lambda count: 2_500 if count % 2 else None) as server:
        found = json.loads(
            compiled.run(flash / "lib", MAINS, SCRIPT, f"{flash}/", server.url, KEY.public.hex())
        )
    assert found["answer"][0] == ota.WORKING
    assert found["told"] == ["joins net by secret", "update by WiFi: is staged", "leaves"]
    assert_staged(flash)
