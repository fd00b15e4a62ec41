"""`cpc enroll` and `cpc device` as a new user types them, against a development chain that runs."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain_node.did_ledger import DidRegister
from chain_node.errors import Refused
from chain_node.light_http import NodeClient
from chain_node.transaction import Transaction
from chain_node.wire import Reason
from gateway import cli_registrar
from gateway.cli_chain import NotFinal
from gateway.cli_enroll import FILE_SIZE_MAX
from gateway.cli_gateway import CONFIG_NAME
from gateway.cli_output import EXIT_FAILED, EXIT_NOT_PROVEN, EXIT_USAGE, Output
from gateway.cli_registrar import held_site
from gateway.config import load
from gateway.crypto.key_file import load_gateway_key
from gateway.status_anchor import open_anchored
from puf.errors import CredentialError
from puf.status_list import check_status
from tests.gateway.commands import Cpc
from tests.gateway.enrolling import readouts
from tests.node_process import NodeProcess


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("chain") / "chain") as made:
        yield made


@pytest.fixture
def site(cpc: Cpc, node: NodeProcess, tmp_path: Path) -> Path:
    cpc("init", tmp_path / "site", "--node", node.url)
    return tmp_path / "site"


def test_a_new_user_enrols_a_chip_and_sees_it_refused_after_one_bit_was_flipped(
    cpc: Cpc, site: Path, node: NodeProcess, tmp_path: Path
) -> None:
    c = ("-c", site / CONFIG_NAME)
    first = ("--simulate", "first-chip")
    text = cpc("enroll", "lock1", *c, *first)
    (shown,) = cpc.lines("device", "show", "lock1", *c)
    assert text.startswith(f"device      lock1\nstate       enrolled\nname        {shown['did']}\n")
    assert f"proven      its name was on the chain after block {shown['height']}\n" in text

    # Its name is on the chain, for whoever has the genesis, with keys of its own and the gateway behind it.
    (resolved,) = cpc.lines(
        "did", "show", shown["did"], "--node", node.url, "--genesis", site / "genesis.cbor"
    )
    document = resolved["didDocument"]
    assert (document["id"], document["controller"]) == (shown["did"], shown["gateway"])
    assert len(document["verificationMethod"]) == 2

    for meeting in (0, 1):
        text = cpc("device", "authenticate", "lock1", *c, *first)
        assert ("first meeting, EDHOC: 4 messages of 37, 45, 19, 9 bytes" in text) == (meeting == 0)
        assert "lock1 is authentic, and so is its gateway\n" in text
        assert f"meeting {meeting}: 3 messages of 28, 36 and 19 bytes" in text
        assert "not proven: how far away it is" in text

    text = cpc(
        *("device", "authenticate", "lock1", *c, *first, "--flip-helper-bit", 2000), exit_code=EXIT_NOT_PROVEN
    )
    assert text.startswith("refused by the device: its helper data was altered, or another gateway made it (")
    text = cpc("device", "authenticate", "lock1", *c, "--simulate", "thief", exit_code=EXIT_NOT_PROVEN)
    assert text.startswith("refused by the device: refused; cut the power")
    assert "meeting 2" in cpc("device", "authenticate", "lock1", *c, *first)

    # A weak device checks no signature, and is refused by what is bound into its key.
    (weak,) = cpc.lines("enroll", "plug7", *c, "--simulate", "plug", "--weak")
    flipped = ("--simulate", "plug", "--flip-helper-bit", 2000)
    (refused,) = cpc.lines("device", "authenticate", "plug7", *c, *flipped, exit_code=EXIT_NOT_PROVEN)
    assert (refused["is_authentic"], refused["reason"]) == (False, "ReproductionError")
    (met,) = cpc.lines("device", "authenticate", "plug7", *c, "--simulate", "plug")
    assert (met["is_authentic"], met["message_bytes"]) == (True, [28, 36, 19])

    # The end of it: on the chain, in the status list, and here.
    assert "say --yes" in cpc.lines("device", "revoke", "plug7", *c, exit_code=EXIT_USAGE)[0]["message"]
    assert cpc("device", "revoke", "plug7", *c, "--yes").startswith("plug7 is revoked\n  proven: ")
    assert "revoked already" in cpc("device", "revoke", "plug7", *c, "--yes")
    (gone,) = cpc.lines("did", "show", weak["did"], "--node", node.url, "--genesis", site / "genesis.cbor")
    assert gone["didDocumentMetadata"]["deactivated"] is True
    text = cpc("device", "authenticate", "plug7", *c, "--simulate", "plug", exit_code=EXIT_NOT_PROVEN)
    assert text == "refused by the gateway: plug7 is revoked\n"
    out = tmp_path / "status.cwt"
    (made,) = cpc.lines("device", "status-list", *c, "--out", out)
    issuer = load_gateway_key(site / "gateway.key").identity.public
    evidence = Path(f"{out}.evidence").read_bytes()
    opened = open_anchored(out.read_bytes(), evidence, made["uri"], issuer, node.genesis)
    assert opened.version == made["version"] == 2
    now_ms = opened.token.issued_ms
    with pytest.raises(CredentialError, match="revoked"):
        check_status({"status_list": weak["status"]}, opened.token, now_ms)
    check_status({"status_list": shown["status"]}, opened.token, now_ms)

    again = cpc.lines("device", "re-enroll", "lock1", *c, *first, "--yes")[-1]
    assert (again["state"], again["address"]) == ("enrolled", shown["address"] + 672)
    assert again["did"] != shown["did"]
    assert "meeting 0" in cpc("device", "authenticate", "lock1", *c, *first)
    states = [(each["device"], each["state"]) for each in cpc.lines("device", "list", *c)]
    assert states == [("lock1", "revoked"), ("plug7", "revoked"), ("lock1", "enrolled")]


def test_an_enrolment_whose_link_was_lost_is_with_and_paid_once(cpc: Cpc, site: Path) -> None:
    async def lost(client: NodeClient, transaction: Transaction) -> bytes:
        await submit(client, transaction)
        # Not Refused: after that the node is asked anew, and may have made the block meanwhile.
        raise NotFinal("the process dies here")

    c = ("-c", site / CONFIG_NAME)
    submit = NodeClient.submit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NodeClient, "submit", lost)
        (error,) = cpc.lines("enroll", "lock1", *c, "--simulate", "chip", exit_code=EXIT_FAILED)
    assert "the process dies here" in error["message"]
    assert [each["state"] for each in cpc.lines("device", "list", *c)] == ["planned"]
    (device,) = cpc.lines("enroll", "lock1", *c)
    assert device["state"] == "enrolled"
    assert "gone on with the enrolment of lock1 that was interrupted" in cpc.err
    assert cpc.lines("enroll", "lock1", *c) == [device]
    assert "enrolled already; nothing was changed" in cpc.err


def test_a_name_that_is_on_its_way_when_its_device_is_revoked_ends_as_well(
    cpc: Cpc, site: Path, node: NodeProcess
) -> None:
    c = ("-c", site / CONFIG_NAME)
    cpc("enroll", "lock0", *c, "--simulate", "first")

    async def cut(client: NodeClient, transaction: Transaction) -> bytes:
        raise NotFinal("the power fails after it was signed and kept")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NodeClient, "submit", cut)
        cpc("enroll", "lock1", *c, "--simulate", "second", exit_code=EXIT_FAILED)
    (device,) = cpc.lines("device", "revoke", "lock1", *c, "--yes")
    assert device["state"] == "revoked"
    (shown,) = cpc.lines("did", "show", device["did"], "--node", node.url, "--genesis", site / "genesis.cbor")
    assert shown["didDocumentMetadata"]["deactivated"] is True


def test_a_replacement_that_is_broken_off_again_and_again_takes_one_region(cpc: Cpc, site: Path) -> None:
    async def cut(client: NodeClient, transaction: Transaction) -> bytes:
        if isinstance(transaction.body, DidRegister):
            raise Refused(Reason.MALFORMED, "the line is cut here")
        return await submit(client, transaction)

    c = ("-c", site / CONFIG_NAME)
    submit = NodeClient.submit
    cpc("enroll", "lock1", *c, "--simulate", "chip")
    again = ("device", "re-enroll", "lock1", *c, "--simulate", "chip", "--yes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NodeClient, "submit", cut)
        for _ in range(3):
            cpc(*again, exit_code=EXIT_FAILED)
    assert cpc.lines(*again)[0]["state"] == "enrolled"
    assert [each["state"] for each in cpc.lines("device", "list", *c)] == ["revoked", "enrolled"]


def test_a_larger_chip_is_met_as_large_as_it_is(cpc: Cpc, site: Path) -> None:
    c = ("-c", site / CONFIG_NAME)
    large = ("--simulate", "large", "--readout-bytes", 4096)
    cpc("enroll", "lock1", *c, *large)
    for _ in range(3):
        (device,) = cpc.lines("device", "re-enroll", "lock1", *c, *large, "--yes")
    assert device["address"] + device["size"] > 0x50000000 + 2040
    (met,) = cpc.lines("device", "authenticate", "lock1", *c, "--simulate", "large")
    assert met["is_authentic"] is True
    # A chip that cannot bear another key: the one that it has is not ended.
    for _ in range(2):
        cpc("device", "re-enroll", "lock1", *c, *large, "--yes")
    (error,) = cpc.lines("device", "re-enroll", "lock1", *c, *large, "--yes", exit_code=EXIT_FAILED)
    assert "every region of this chip" in error["message"]
    (met,) = cpc.lines("device", "authenticate", "lock1", *c, "--simulate", "large")
    assert met["is_authentic"] is True


def test_a_revocation_waits_for_a_gateway_that_is_publishing(
    cpc: Cpc, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = ("-c", site / CONFIG_NAME)
    cpc("enroll", "lock1", *c, "--simulate", "chip")
    publishing = held_site(load(site / CONFIG_NAME), load_gateway_key(site / "gateway.key"))
    publishing.__enter__()
    told: list[str] = []

    def end(text: str) -> None:
        told.append(text)
        if text.startswith("another command, or cpc run"):
            publishing.__exit__(None, None, None)

    monkeypatch.setattr(Output, "note", staticmethod(end))
    assert cpc.lines("device", "revoke", "lock1", *c, "--yes")[0]["state"] == "revoked"
    assert "waiting for it" in told[0]


def test_who_only_looks_waits_for_nobody(cpc: Cpc, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c = ("-c", site / CONFIG_NAME)
    assert cpc("device", "list", *c) == "no device is enrolled; cpc enroll enrols one\n"
    assert (
        "none is; cpc enroll" in cpc.lines("device", "show", "lock1", *c, exit_code=EXIT_FAILED)[0]["message"]
    )
    assert "no credential was issued" in cpc("credential", "list", *c)
    assert not (site / "devices.sqlite").exists()
    cpc("enroll", "lock1", *c, "--simulate", "chip")
    key = load_gateway_key(site / "gateway.key")
    with held_site(load(site / CONFIG_NAME), key):
        assert [each["device"] for each in cpc.lines("device", "list", *c)] == ["lock1"]
        assert cpc.lines("device", "show", "lock1", *c)[0]["state"] == "enrolled"
        assert cpc.lines("credential", "list", *c)[0]["batches"] == []
        monkeypatch.setattr(cli_registrar, "LOCK_WAIT_MS", 0)
        (busy,) = cpc.lines("device", "revoke", "lock1", *c, "--yes", exit_code=EXIT_FAILED)
        assert "another command changes the devices" in busy["message"]


def test_recorded_readouts_serve_as_well(cpc: Cpc, site: Path, tmp_path: Path) -> None:
    c = ("-c", site / CONFIG_NAME)
    file = tmp_path / "lock2.bin"
    file.write_bytes(readouts(b"recorded"))
    (device,) = cpc.lines("enroll", "lock2", *c, "--readouts", file)
    assert (device["state"], device["address"]) == ("enrolled", 0)


def test_readouts_that_cannot_be_read_are_said_to_be_so_and_no_more(
    cpc: Cpc, site: Path, tmp_path: Path
) -> None:
    enroll = ("enroll", "lock9", "-c", site / CONFIG_NAME, "--readouts")
    cpc(*enroll, tmp_path / "nowhere.bin", exit_code=EXIT_USAGE)
    assert cpc.err == f"cpc enroll: cannot read {tmp_path / 'nowhere.bin'}: No such file or directory\n"
    (tmp_path / "torn.bin").write_bytes(bytes(100))
    cpc(*enroll, tmp_path / "torn.bin", exit_code=EXIT_USAGE)
    assert "torn.bin holds no readouts" in cpc.err
    assert "say --readout-bytes N" in cpc.err
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(FILE_SIZE_MAX + 1)
    cpc(*enroll, tmp_path / "large.bin", exit_code=EXIT_USAGE)
    assert "give fewer readouts" in cpc.err


def test_a_device_that_was_tried_too_often_waits_and_is_not_lost(cpc: Cpc, site: Path) -> None:
    meet = ("device", "authenticate", "lock1", "-c", site / CONFIG_NAME, "--simulate")
    cpc("enroll", "lock1", "-c", site / CONFIG_NAME, "--simulate", "chip")
    for _ in range(7):
        cpc(*meet, "thief", exit_code=EXIT_NOT_PROVEN)
    assert "after 7 failed attempts it waited 2000 ms, simulated, first\n" in cpc(*meet, "chip")
    (met,) = cpc.lines(*meet, "chip")
    assert (met["waited_ms"], met["meeting"]) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["enroll", "lock1"], EXIT_USAGE, "say where readouts come from"),
        (["enroll", "lock1", "--readouts", "no-such-file"], EXIT_USAGE, "cannot read"),
        (["enroll", "lock1", "--simulate", "x", "--readout-bytes", "0"], EXIT_USAGE, "1 to 65536 bytes"),
        (["device", "show", "lock9"], EXIT_FAILED, "none is; cpc enroll enrols one"),
        (["device", "revoke", "lock9", "--yes"], EXIT_FAILED, "none is"),
        (["device", "re-enroll", "lock9", "--simulate", "x"], EXIT_USAGE, "say --yes"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(
    cpc: Cpc, site: Path, arguments: list[str], code: int, why: str
) -> None:
    (error,) = cpc.lines(*arguments, "-c", site / CONFIG_NAME, exit_code=code)
    assert why in error["message"]


def test_a_name_is_a_plain_one(cpc: Cpc, site: Path) -> None:
    for name in ("Lock 1", "", "x" * 33, "../lock"):
        with pytest.raises(SystemExit) as caught:
            cpc("enroll", name, "-c", site / CONFIG_NAME, "--simulate", "x")
        assert caught.value.code == EXIT_USAGE


def test_helper_data_for_a_board_is_written_as_it_is(cpc: Cpc, site: Path, tmp_path: Path) -> None:
    c = ("-c", site / CONFIG_NAME)
    (device,) = cpc.lines("enroll", "lock1", *c, "--simulate", "chip")
    file = tmp_path / "lock1.helper"
    cpc("device", "show", "lock1", *c, "--helper", file)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == device["helper_sha256"]
