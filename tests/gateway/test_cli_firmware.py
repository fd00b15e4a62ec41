"""`cpc firmware` and `cpc device console`, as a user types them."""

import io
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from devices.firmware_build import flash_files, write_tree
from gateway.cli import main
from gateway.cli_device_update import EXIT_KEY, talk
from gateway.cli_output import EXIT_NOT_PROVEN, EXIT_USAGE
from tests.gateway.commands import Cpc

SLOT = {"puf/a.mpy": b"M\x06\x00\x1f" + b"a" * 96, "boards/x.json": b"{}"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make firmware` leaves it."""
    folder = tmp_path_factory.mktemp("firmware") / "lock"
    write_tree(folder, flash_files(SLOT, "lock", 1))
    return folder


def test_firmware_is_signed_shown_and_its_publisher_checked(cpc: Cpc, built: Path, tmp_path: Path) -> None:
    key, out = tmp_path / "publisher.key", tmp_path / "lock-2.update"
    (made,) = cpc.lines("firmware", "key", "--out", key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(bytes.fromhex(made["publisher"])) == 32
    sign = ("firmware", "sign", built, "--version", 2, "--key", key, "--out", out)
    (signed,) = cpc.lines(*sign, "--minimum", 2)
    assert signed | {"file": "", "bytes": 0} == {
        **{"role": "lock", "board": "any", "version": 2, "minimum": 2, "loader": 1, "mpy": 6},
        **{"may_go_back": False, "file_count": 2, "bytes": 0, "file": ""},
    }
    assert signed["bytes"] == out.stat().st_size
    (shown,) = cpc.lines("firmware", "show", out, "--publisher", made["publisher"])
    assert shown["is_signed"] is True
    assert [(file["path"], file["bytes"]) for file in shown["files"]] == [
        ("boards/x.json", 2),
        ("puf/a.mpy", 100),
    ]
    text = cpc("firmware", "show", out)
    assert text.startswith(
        "lock version 2 for any board: 2 files, 102 bytes; afterwards nothing before version 2"
    )
    assert "who signed it was not checked" in text
    (other,) = cpc.lines("firmware", "show", out, "--publisher", "11" * 32, exit_code=EXIT_NOT_PROVEN)
    assert other["is_signed"] is False


def test_what_is_no_firmware_no_key_or_damaged_is_refused_with_what_to_do(
    cpc: Cpc, built: Path, tmp_path: Path
) -> None:
    key, out = tmp_path / "publisher.key", tmp_path / "lock.update"
    cpc("firmware", "key", "--out", key)
    sign = ("--key", key, "--out", out)
    (bad,) = cpc.lines("firmware", "sign", tmp_path, "--version", 2, *sign, exit_code=EXIT_USAGE)
    assert "holds no firmware; make firmware makes" in bad["message"]
    (bad,) = cpc.lines("firmware", "sign", built, "--version", 0, *sign, exit_code=EXIT_USAGE)
    assert "a version is 1 or more" in bad["message"]
    assert not out.exists()
    cpc("firmware", "sign", built, "--version", 2, *sign)
    data = bytearray(out.read_bytes())
    data[-1] ^= 1
    out.write_bytes(data)
    (bad,) = cpc.lines("firmware", "show", out, exit_code=EXIT_USAGE)
    assert "puf/a.mpy is not the file that was signed" in bad["message"]


@pytest.fixture
def echo() -> Iterator[str]:
    """A board at the other end of a socket: it says everything again in capitals."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            link, _ = server.accept()
            with link:
                while data := link.recv(256):
                    link.sendall(data.upper())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"
    thread.join()


def test_a_console_passes_bytes_both_ways_logs_them_and_leaves_by_its_key(echo: str) -> None:
    ours, theirs = os.pipe()
    screen, log = io.BytesIO(), io.BytesIO()
    with serial.serial_for_url(echo, timeout=0.02) as port:
        os.write(theirs, b"help\x03")
        worker = threading.Thread(target=talk, args=(port, ours, screen, log))
        worker.start()
        while b"HELP\x03" not in screen.getvalue():
            assert worker.is_alive()
            worker.join(0.01)
        os.write(theirs, b"last" + EXIT_KEY + b"never")
        worker.join(10)
        assert not worker.is_alive()
        # What was typed before the key went out, what stands behind it did not.
        port.timeout = 2
        rest = port.read(4)
    assert screen.getvalue() + rest == b"HELP\x03LAST"
    assert log.getvalue() == screen.getvalue()
    os.close(ours)
    os.close(theirs)


def test_a_console_ends_with_its_input_once_the_board_is_silent(echo: str) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"hi")
    os.close(theirs)
    screen = io.BytesIO()
    with serial.serial_for_url(echo, timeout=0.2) as port:
        talk(port, ours, screen, None)
    os.close(ours)
    assert screen.getvalue() == b"HI"


def test_a_port_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "console", "/dev/no-such-port"]) == EXIT_USAGE
    assert "/dev/no-such-port cannot be opened" in capsys.readouterr().err
