"""`cpc wallet` and `cpc did` as a user types them, against a development chain that runs."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chain_node.errors import NodeUnavailable
from chain_node.genesis import Genesis
from chain_node.light_http import NodeClient
from chain_node.transaction import Transaction, Transfer
from gateway import cli_chain
from gateway.cli_chain import account_key, amount_ucpc, cpc_text
from gateway.cli_output import EXIT_FAILED, EXIT_NOT_PROVEN, EXIT_USAGE
from gateway.crypto import wallet_file
from puf.did import X25519, did_cpc, did_key
from puf.ed25519 import SigningKey
from tests.gateway.commands import Cpc
from tests.node_process import NodeProcess

PHRASE = "correct horse battery"
BOB = did_key(SigningKey(b"b" * 32).public)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("chain") / "chain") as made:
        yield made


class Purse:
    """A user's folder: a wallet with money in it, and the passphrase in a file."""

    def __init__(self, cpc: Cpc, folder: Path, node: NodeProcess) -> None:
        self.cpc, self.folder, self.node = cpc, folder, node
        self.wallet = folder / "alice.wallet"
        self.phrase = folder / "phrase.txt"
        self.phrase.write_text(PHRASE + "\n")
        (self.new,) = cpc.lines("wallet", "new", self.wallet, "--passphrase-file", self.phrase)
        self.public = bytes.fromhex(self.new["account"])

    @property
    def pending(self) -> Path:
        return self.folder / "alice.wallet.pending"

    def there(self) -> list[object]:
        return ["--node", self.node.url]

    def sending(self) -> list[object]:
        return [*self.there(), "--passphrase-file", self.phrase]

    def send(self, *arguments: object, exit_code: int = 0) -> Any:
        (answer,) = self.cpc.lines(
            "wallet", "send", self.wallet, *arguments, *self.sending(), exit_code=exit_code
        )
        return answer

    async def fund(self, amount: int) -> None:
        async with NodeClient(self.node.url) as client:
            name = await client.fund(self.public, amount)
            while (await client.get_transaction(name)).status != "final":
                await client.chain_info()

    def balance(self) -> Any:
        (answer,) = self.cpc.lines("wallet", "balance", self.wallet, *self.there())
        return answer


@pytest.fixture
def purse(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    node: NodeProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> Purse:
    monkeypatch.setattr(wallet_file, "PASSES", 1)
    monkeypatch.setattr(wallet_file, "MEMORY_KIB", 8)
    return Purse(Cpc(capsys), tmp_path, node)


def run(awaitable: Any) -> None:

    asyncio.run(awaitable)


def test_money_comes_goes_and_is_proven(purse: Purse) -> None:
    cpc = purse.cpc
    assert cpc.lines("wallet", "show", purse.wallet) == [purse.new]
    assert purse.new["did"] == did_key(purse.public)
    assert purse.balance()["balance_ucpc"] == 0
    run(purse.fund(5_000_000))
    sent = purse.send("--to", BOB, "--amount", "1.5", "--memo", "bay 7")
    assert (sent["status"], sent["reason"], sent["amount_ucpc"], sent["to"], sent["nonce"]) == (
        "final",
        "applied",
        1_500_000,
        BOB,
        0,
    )
    assert (sent["signers"], purse.pending.exists()) == ([0], False)
    after = purse.balance()
    assert (after["balance_ucpc"], after["nonce"]) == (5_000_000 - 1_500_000 - sent["fee_ucpc"], 1)
    lines = cpc.lines("wallet", "history", purse.wallet, *purse.there())
    assert [(line["kind"], line["is_sender"], line["amount_ucpc"]) for line in lines] == [
        ("Transfer", True, 1_500_000),
        ("Transfer", False, 5_000_000),
    ]
    assert bytes.fromhex(lines[0]["memo"]) == b"bay 7"
    text = cpc("wallet", "history", purse.wallet, "--count", 1, *purse.there())
    assert text.count("\n") == 1
    assert f'-1.5 CPC to {BOB}  "bay 7"' in text
    text = cpc("wallet", "send", purse.wallet, "--to", BOB, "--amount", "0.25", *purse.sending())
    assert text.startswith(f"0.25 CPC to {BOB}\ntransaction  ")
    assert "  proven: the block is certified by 1 of 1 validators\n" in text


def test_a_payment_that_broke_off_is_gone_on_with_and_paid_once(purse: Purse) -> None:
    async def lost(client: NodeClient, transaction: Transaction) -> bytes:
        await submit(client, transaction)
        raise NodeUnavailable(client.url, "the link is lost")

    submit = NodeClient.submit
    run(purse.fund(3_000_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NodeClient, "submit", lost)
        error = purse.send("--to", BOB, "--amount", "1", "--wait-ms", 0, exit_code=EXIT_FAILED)
    assert error["error"] == "NotFinal"
    assert "run the same command again" in error["message"]
    waiting = cli_chain.read_pending(purse.pending)
    assert waiting
    error = purse.send("--to", BOB, "--amount", "2", exit_code=EXIT_USAGE)
    assert "another transaction is on its way" in error["message"]
    sent = purse.send("--to", BOB, "--amount", "1")
    assert (sent["tx_hash"], sent["nonce"]) == (waiting.tx_hash.hex(), 0)
    # As after a crash between the proof and the end: the file is still there.
    purse.pending.write_text(waiting.data.hex())
    assert purse.send("--resume")["tx_hash"] == waiting.tx_hash.hex()
    assert purse.balance()["balance_ucpc"] == 2_000_000 - sent["fee_ucpc"]
    error = purse.send("--resume", exit_code=EXIT_USAGE)
    assert "nothing is on its way" in error["message"]


def test_a_payment_whose_place_another_took_is_given_up_with_a_proof(purse: Purse) -> None:
    run(purse.fund(3_000_000))
    purse.send("--to", BOB, "--amount", "1")
    key = wallet_file.load(purse.wallet).unlock(PHRASE)
    lost = Transaction.sign(key, purse.node.genesis.chain_id, 0, Transfer(key.public, 7), 1_000)
    purse.pending.write_text(lost.data.hex())
    error = purse.send("--resume", exit_code=EXIT_FAILED)
    assert error["error"] == "Refused"
    assert "another one has taken its nonce" in error["message"]
    assert not purse.pending.exists()


def test_what_cannot_be_paid_is_refused_and_nothing_stays_behind(purse: Purse) -> None:
    error = purse.send("--to", BOB, "--amount", "1", exit_code=EXIT_FAILED)
    assert (error["error"], purse.pending.exists()) == ("Refused", False)
    for arguments, why in (
        (["--to", BOB], "say --to and --amount"),
        (["--to", BOB, "--amount", "0"], "the least amount"),
        (["--to", BOB, "--amount", "1", "--memo", "x" * 65], "the memo has 65 bytes"),
    ):
        assert why in purse.send(*arguments, exit_code=EXIT_USAGE)["message"]
    (error,) = purse.cpc.lines(
        *("wallet", "send", purse.wallet, "--to", BOB, "--amount", "1", *purse.there()), exit_code=EXIT_USAGE
    )
    assert "say --passphrase-file FILE" in error["message"]
    purse.phrase.write_text("wrong wrong wrong\n")
    assert purse.send("--to", BOB, "--amount", "1", exit_code=EXIT_FAILED)["error"] == "WrongPassphrase"
    (error,) = purse.cpc.lines(
        "wallet", "new", purse.wallet, "--passphrase-file", purse.phrase, exit_code=EXIT_USAGE
    )
    assert "exists already" in error["message"]


def test_a_wallet_keeps_to_the_chain_it_trusts(purse: Purse, tmp_path: Path) -> None:
    purse.cpc("wallet", "balance", purse.wallet, *purse.there())
    assert "trusting chain dev" in purse.cpc.err
    purse.cpc("wallet", "balance", purse.wallet, *purse.there())
    assert purse.cpc.err == ""
    other = tmp_path / "other.cbor"
    genesis = purse.node.genesis
    other.write_bytes(Genesis.decode(genesis.data.replace(b"cdev", b"cdex")).data)
    (error,) = purse.cpc.lines(
        "wallet", "balance", purse.wallet, *purse.there(), "--genesis", other, exit_code=EXIT_USAGE
    )
    assert f"trusts {genesis.chain_id.hex()}" in error["message"]
    (purse.folder / "alice.wallet.chain").unlink()
    (error,) = purse.cpc.lines(
        "wallet", "balance", purse.wallet, *purse.there(), "--genesis", other, exit_code=EXIT_NOT_PROVEN
    )
    assert error["error"] == "HeaderError"


def test_the_passphrase_is_asked_for_twice_and_never_shown(
    purse: Purse, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: typed.pop(0))
    typed += [PHRASE, PHRASE + "x"]
    (error,) = purse.cpc.lines("wallet", "new", purse.folder / "b", exit_code=EXIT_USAGE)
    assert "the two are not the same" in error["message"]
    typed += [PHRASE, PHRASE]
    out = purse.cpc("wallet", "new", purse.folder / "b")
    assert PHRASE not in out + purse.cpc.err
    key = wallet_file.load(purse.folder / "b").unlock(PHRASE)
    assert out.splitlines()[0] == f"account {did_key(key.public)}"


# Names


def test_a_name_is_made_changed_looked_up_in_the_past_and_ended(purse: Purse) -> None:
    cpc, sending = purse.cpc, purse.sending()
    run(purse.fund(3_000_000))
    sealing = did_key(SigningKey(b"x" * 32).public, X25519)
    (made,) = cpc.lines(
        *("did", "create", purse.wallet, "--key", sealing, "--service", "site,Gateway,https://site.example/"),
        *sending,
    )
    name = made["did"]
    (shown,) = cpc.lines("did", "show", name, "--wallet", purse.wallet, *purse.there())
    document = shown["didDocument"]
    assert (document["id"], document["service"][0]["serviceEndpoint"]) == (name, "https://site.example/")
    assert shown["didDocumentMetadata"]["versionId"] == "1"
    assert document["keyAgreement"] == [f"{name}#{sealing[8:]}"]

    (changed,) = cpc.lines(
        *("did", "rotate", purse.wallet, name, "--key", f"{BOB}=assertion", "--drop-key", sealing),
        *("--drop-service", "site", *sending),
    )
    (now,) = cpc.lines("did", "show", name, *purse.there())
    assert now["didDocument"]["assertionMethod"] == [f"{name}#{purse.new['did'][8:]}", f"{name}#{BOB[8:]}"]
    assert "service" not in now["didDocument"]
    (past,) = cpc.lines("did", "show", name, "--at", made["height"], *purse.there())
    assert past["didDocument"] == document
    (before,) = cpc.lines(
        "did", "show", name, "--at", made["height"] - 1, *purse.there(), exit_code=EXIT_FAILED
    )
    assert before["status"] == "unknown"
    assert changed["height"] > made["height"]

    (error,) = cpc.lines("did", "deactivate", purse.wallet, name, *sending, exit_code=EXIT_USAGE)
    assert "say --yes" in error["message"]
    assert cpc.lines("did", "deactivate", purse.wallet, name, "--yes", *sending)[0]["reason"] == "applied"
    (ended,) = cpc.lines("did", "show", name, *purse.there())
    assert ended["didDocumentMetadata"]["deactivated"] is True
    (error,) = cpc.lines("did", "rotate", purse.wallet, name, "--key", BOB, *sending, exit_code=EXIT_FAILED)
    assert (error["error"], purse.pending.exists()) == ("Refused", False)


def test_names_that_are_not_there_or_cannot_be(purse: Purse) -> None:
    nobody = did_cpc(b"n" * 32)
    (answer,) = purse.cpc.lines("did", "show", nobody, *purse.there(), exit_code=EXIT_FAILED)
    assert (answer["did"], answer["status"]) == (nobody, "unknown")
    (error,) = purse.cpc.lines(
        "did", "rotate", purse.wallet, nobody, "--key", BOB, *purse.sending(), exit_code=EXIT_USAGE
    )
    assert "is not registered, proven after block" in error["message"]
    document = json.loads(purse.cpc("did", "show", BOB))
    assert document["id"] == BOB
    for text in ("did:key:zz", "did:web:x"):
        assert purse.cpc.lines("did", "show", text, exit_code=EXIT_USAGE)[0]["error"] == "UsageError"
    for key in ("did:web:x", f"{BOB}=cooking"):
        (error,) = purse.cpc.lines(
            "did", "create", purse.wallet, "--key", key, *purse.sending(), exit_code=EXIT_USAGE
        )
        assert error["error"] == "UsageError"


# Words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1_500_000),
        ("0.000001", 1),
        ("1000000000", 10**15),
        ("7", 7_000_000),
        ("0.1", 100_000),
        ("0", 0),
    ],
)
def test_amounts_are_exact(text: str, value: int) -> None:
    assert amount_ucpc(text) == value
    assert cpc_text(value) == f"{text} CPC"


@pytest.mark.parametrize(
    "text", ["", "1.", ".5", "-1", "1e3", "1.0000001", "1000000001", "1,5", "٣", "1 ", "NaN", "1" * 11]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is no amount in CPC"):
        amount_ucpc(text)


def test_accounts_by_name_and_by_hex() -> None:
    public = SigningKey(b"b" * 32).public
    assert account_key(BOB) == account_key(public.hex()) == public
    for text in (public.hex().upper(), public.hex()[1:], did_cpc(public), did_key(public, X25519), BOB[:-1]):
        with pytest.raises(Exception, match=r"is no account|for sealing"):
            account_key(text)
