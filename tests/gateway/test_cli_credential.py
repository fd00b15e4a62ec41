"""`cpc credential` as an issuer, a car and two sites type it, against a development chain that runs."""

import json
import random
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway import cli_credential_wallet
from gateway.cli_gateway import CONFIG_NAME
from gateway.cli_output import EXIT_FAILED, EXIT_NOT_PROVEN, EXIT_USAGE
from puf import cbor, sd_cwt
from tests.gateway.commands import Cpc
from tests.node_process import NodeProcess

RUN = 6
"""Bytes in a row that two random strings share by accident in one of many millions of tries."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("chain") / "chain") as made:
        yield made


@dataclass
class World:
    """An issuer, two asking sites, and cars, each with its files."""

    cpc: Cpc
    folder: Path
    issuer: str = ""

    def site(self, name: str) -> tuple[object, ...]:
        return ("-c", self.folder / name / CONFIG_NAME)

    def did(self, name: str) -> str:
        return str(self.cpc.lines("credential", "list", *self.site(name))[0]["issuer"])

    def file(self, name: str) -> Path:
        return self.folder / name

    @property
    def phrase(self) -> tuple[object, ...]:
        return ("--passphrase-file", self.file("phrase"))

    def car(self, name: str) -> Path:
        self.cpc("wallet", "new", self.file(name), *self.phrase)
        return self.file(name)

    def supply(self, car: Path, claims: dict[str, str], count: int = 3, site: str | None = None) -> Any:
        """A request, its answer, and the answer taken in."""
        asked, answer = self.file("request.cbor"), self.file("batch.cbor")
        where = ("--for", site) if site else ()
        self.cpc(
            *("credential", "request", car, *self.phrase, "--issuer", self.issuer, *where),
            *("--count", count, "--out", asked),
        )
        said = [item for name, value in claims.items() for item in ("--claim", f"{name}={value}")]
        issue = (
            *("credential", "issue", car.name.split(".")[0], *self.site("fleet"), "--request", asked),
            *("--schema", "vehicle/1", *said, "--out", answer),
        )
        (issued,) = self.cpc.lines(*issue)
        self.cpc("credential", "keep", car, answer, *self.phrase)
        return issued

    def status(self) -> Path:
        out = self.file("status.cwt")
        self.cpc("device", "status-list", *self.site("fleet"), "--out", out)
        return out

    def ask(self, site: str, *claims: str, valid_ms: int = 3_600_000) -> Path:
        out = self.file(f"{site}.question")
        named = [item for claim in claims for item in ("--claim", claim)]
        self.cpc(
            *("credential", "ask", *self.site(site), "--issuer", self.issuer, "--schema", "vehicle/1"),
            *(*named, "--valid-ms", valid_ms, "--out", out),
        )
        return out

    def present(self, car: Path, question: Path, *claims: str, exit_code: int = 0) -> Any:
        out = self.file("presentation.cbor")
        shown = [item for claim in claims for item in ("--show", claim)]
        command = ("credential", "present", car, question, *self.phrase, *shown, "--out", out)
        return self.cpc.lines(*command, exit_code=exit_code)[0]

    def verify(self, site: str, *more: object, exit_code: int = 0, file: str = "presentation.cbor") -> Any:
        command = ("credential", "verify", self.file(file), *self.site(site), *more)
        return self.cpc.lines(*command, exit_code=exit_code)[0]


@pytest.fixture
def world(cpc: Cpc, node: NodeProcess, tmp_path: Path) -> World:
    (tmp_path / "phrase").write_text("a long enough phrase\n")
    for name in ("fleet", "a", "b"):
        cpc("init", tmp_path / name, "--node", node.url)
    made = World(cpc, tmp_path)
    made.issuer = made.did("fleet")
    return made


def test_a_car_shows_what_it_wants_once_and_is_refused_when_revoked(world: World) -> None:
    car = world.car("car7.wallet")
    issued = world.supply(car, {"plug": "CCS2", "plate": "B-XY77"}, count=4)
    assert (issued["count"], issued["issuer"], issued["about"]) == (4, world.issuer, "car7")
    assert stat.S_IMODE(world.file("car7.wallet.credentials").stat().st_mode) == 0o600
    assert b"B-XY77" not in world.file("car7.wallet.credentials").read_bytes()
    status = world.status()

    # Nothing is shown that the holder does not name, and a question without an answer costs nothing.
    question = world.ask("a", "plug")
    refused = world.present(car, question, exit_code=EXIT_USAGE)
    assert "asks for plug; if it may see that, say --show plug" in refused["message"]
    shown = world.present(car, question, "plug")
    assert (shown["left"], shown["shown"]) == (3, ["plug"])
    presentation = world.file("presentation.cbor").read_bytes()
    assert b"B-XY77" not in presentation
    found = world.verify("a", "--status", status)
    assert found["is_valid"]
    assert found["claims"] == {"schema": "vehicle/1", "plug": "CCS2"}
    assert (found["issuer"], found["holder"]) == (world.issuer, shown["holder"])
    assert found["is_newest_status_list"]

    # The same again is a replay; so it is at another site.
    for site in ("a", "b"):
        again = world.verify(site, exit_code=EXIT_NOT_PROVEN)
        assert (again["is_valid"], again["reason"]) == (False, "nonce")

    # One who hears the answer cannot give it for himself, nor with a bit changed.
    world.present(car, world.ask("a"), "plate")
    data = bytearray(world.file("presentation.cbor").read_bytes())
    data[-1] ^= 1
    world.file("altered.cbor").write_bytes(data)
    refused = world.verify("a", file="altered.cbor", exit_code=EXIT_NOT_PROVEN)
    assert refused["reason"] == "SignatureError"
    # Its question is used up.
    assert world.verify("a", exit_code=EXIT_NOT_PROVEN)["reason"] == "nonce"

    # The list was remembered; after a revocation a newer one is on the chain, and says so.
    world.present(car, world.ask("a"), "plate")
    (ended,) = world.cpc.lines("credential", "revoke", "car7", *world.site("fleet"), "--yes")
    assert ended["revoked_count"] == 4
    again = world.cpc.lines("credential", "revoke", "car7", *world.site("fleet"), "--yes")[0]
    assert (again["revoked_count"], again["status_list_version"]) == (0, ended["status_list_version"])
    old = world.verify("a", "--newest", exit_code=EXIT_NOT_PROVEN)
    assert old["reason"] == "stale"
    world.present(car, world.ask("a"))
    refused = world.verify("a", "--status", world.status(), exit_code=EXIT_NOT_PROVEN)
    assert (refused["reason"], refused["why"]) == ("revoked", "its issuer has revoked it")

    # None is left, and it is said how to get more.
    none = world.present(car, world.ask("a"), exit_code=EXIT_FAILED)
    assert "is left for" in none["message"]
    assert "(4 used)" in none["message"]
    assert f"get more: cpc credential request {car} --issuer {world.issuer} --for" in none["message"]
    (wallet,) = world.cpc.lines("credential", "show", car, *world.phrase)
    assert (wallet["used"], wallet["kinds"], len(wallet["uses"])) == (4, {}, 4)
    assert len({use["key"] for use in wallet["uses"]}) == 4
    listed = world.cpc.lines("credential", "list", *world.site("fleet"))[0]["batches"]
    assert [(each["count"], each["revoked_count"]) for each in listed] == [(4, 4)]


def test_what_was_asked_for_is_answered_once_and_the_same_when_asked_again(world: World) -> None:
    car = world.car("car7.wallet")
    world.supply(car, {"plug": "CCS2"}, count=2)
    first = world.file("batch.cbor").read_bytes()
    issue = (
        *("credential", "issue", "car7", *world.site("fleet"), "--request", world.file("request.cbor")),
        *("--schema", "vehicle/1", "--claim", "plug=CCS2", "--out", world.file("batch.cbor")),
    )
    world.cpc(*issue)
    assert world.file("batch.cbor").read_bytes() == first
    assert (
        "answered before, for another"
        in world.cpc.lines(*issue[:2], "car8", *issue[3:], exit_code=EXIT_FAILED)[0]["message"]
    )
    (kept,) = world.cpc.lines("credential", "keep", car, world.file("batch.cbor"), *world.phrase)
    assert kept == {"kept_count": 0, "known_count": 2}
    # Another wallet did not ask for them.
    other = world.car("other.wallet")
    (error,) = world.cpc.lines(
        "credential", "keep", other, world.file("batch.cbor"), *world.phrase, exit_code=EXIT_FAILED
    )
    assert "did not ask for" in error["message"]
    # Another issuer is not asked.
    (error,) = world.cpc.lines(*issue[:3], *world.site("a"), *issue[5:], exit_code=EXIT_FAILED)
    assert "this request is for" in error["message"]


def seen_by(world: World, site: str, *files: Path) -> bytes:
    """Every byte that a site has: what it was given, what it was told, and all that it has kept."""
    kept = [path for path in (world.folder / site).iterdir() if path.name.startswith("devices.sqlite")]
    return b"\0".join(path.read_bytes() for path in sorted([*files, *kept]))


def runs(*parts: bytes) -> set[bytes]:
    """Every run of RUN bytes in one of them, none across two."""
    return {data[at : at + RUN] for data in parts for at in range(len(data) - RUN + 1)}


def common(visits: list[tuple[bytes, bytes]], theirs: set[bytes]) -> set[bytes]:
    """What all of these visits have alike, and those of strangers have not.

    Beside what is fixed, one random byte of few values may be alike by chance, even in three visits.
    """
    alike = set.intersection(*(runs(*each) for each in visits))
    assert alike, "issuer and kind are the same at least"
    shorter = {run[1:] for run in theirs} | {run[:-1] for run in theirs}
    return {run for run in alike - theirs if run[1:] not in shorter and run[:-1] not in shorter}


def test_two_sites_that_show_each_other_everything_cannot_tell_that_it_was_one_car(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever both have of one car, both would have of two cars as well."""
    # All come in the same second, so that it is no accident of the hour what they have alike.
    now_ms = time.time_ns() // 1_000_000
    monkeypatch.setattr(cli_credential_wallet, "_now_ms", lambda: now_ms)
    claims = {"plug": "CCS2", "plate": "B-XY77", "contract": "DE-ABC-123456"}
    car = world.car("car.wallet")
    strangers = [world.car(f"stranger{number}.wallet") for number in range(2)]
    for number, stranger in enumerate(strangers):
        world.supply(
            stranger, {"plug": "CCS2", "plate": f"M-ZZ{number}9", "contract": f"FR-QRS-{number}"}, 12
        )
    world.supply(car, claims, count=3, site=world.did("a"))
    world.supply(car, claims, count=3, site=world.did("b"))
    names = {
        group["site"]: group["name"] for group in world.cpc.lines("credential", "show", car, *world.phrase)
    }
    assert len(set(names.values())) == len(names) == 2
    status = world.status()

    def visit(who: Path, site: str) -> tuple[bytes, bytes]:
        """What was shown, and what the site has printed of it."""
        shown = world.present(who, world.ask(site, "plug"), "plug")
        found = world.verify(site, "--status", status)
        # The block, which depends on the time of the visit alone, is the same for whoever comes then.
        told = json.dumps({key: found[key] for key in ("claims", "holder", "issuer")}).encode()
        assert found["holder"] == shown["holder"]
        return world.file("presentation.cbor").read_bytes(), told

    at_a = [visit(car, "a") for number in range(3)]
    at_b = [visit(car, "b") for number in range(3)]
    theirs: set[bytes] = set()
    for number in range(6):
        for stranger in strangers:
            theirs |= runs(*visit(stranger, "ab"[number % 2]))
    # What is alike at both sites is so at each.
    assert common(at_a, theirs) == common(at_b, theirs) == set()
    # The sites' own files keep nothing of who came: neither key, nor claim, nor place in the status list.
    for site in ("a", "b"):
        kept = seen_by(world, site)
        assert b"CCS2" not in kept
        for data, _ in (*at_a, *at_b):
            binding = cbor.decode(cbor.decode(data).value[0], 8192, 16)  # type: ignore[attr-defined]
            credential = sd_cwt._credential(binding[sd_cwt.KCWT])  # type: ignore[index]
            assert credential.holder not in kept


def test_another_name_than_the_one_that_was_asked_for_is_refused(world: World) -> None:
    car = world.car("car7.wallet")
    world.supply(car, {"plug": "CCS2"}, count=3)
    status = world.status()
    # A site that trusts itself only.
    out = world.file("own.question")
    world.cpc("credential", "ask", *world.site("a"), "--schema", "vehicle/1", "--out", out)
    assert "is left for" in world.present(car, out, exit_code=EXIT_FAILED)["message"]
    # Another kind.
    world.cpc(
        *(
            "credential",
            "ask",
            *world.site("a"),
            "--issuer",
            world.issuer,
            "--schema",
            "driver/1",
            "--out",
            out,
        )
    )
    assert "'driver/1'" in world.present(car, out, exit_code=EXIT_FAILED)["message"]
    # A claim that the credential has not uses none up.
    assert (
        "no redacted claim 'colour'"
        in world.present(car, world.ask("a"), "colour", exit_code=EXIT_USAGE)["message"]
    )
    # A question for a on the way to b: what answers it, b does not take.
    world.present(car, world.ask("a"))
    assert world.verify("b", "--status", status, exit_code=EXIT_NOT_PROVEN)["reason"] == "nonce"
    # Without a list nobody is believed, and with another's neither.
    assert world.verify("a", exit_code=EXIT_NOT_PROVEN)["reason"] == "list"
    world.present(car, world.ask("a"))
    assert world.verify("a", "--status", status)["is_valid"]


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (
            ["issue", "x", "--request", "nowhere", "--schema", "s", "--out", "o"],
            EXIT_USAGE,
            "cannot read nowhere",
        ),
        (["revoke", "car7"], EXIT_USAGE, "say --yes"),
        (["revoke", "car7", "--yes"], EXIT_FAILED, "nobody has any"),
        (["ask", "--schema", "s", "--valid-ms", "0", "--out", "o"], EXIT_USAGE, "1000 to 86400000"),
        (["ask", "--schema", "", "--out", "o"], EXIT_FAILED, "1 to 64 letters"),
        (["verify", "nowhere"], EXIT_USAGE, "cannot read nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(
    world: World, arguments: list[str], code: int, why: str
) -> None:
    (error,) = world.cpc.lines("credential", *arguments, *world.site("fleet"), exit_code=code)
    assert why in error["message"]


def test_garbage_in_each_file_is_refused(world: World) -> None:
    car, garbage = world.car("car.wallet"), world.file("garbage")
    noise = random.Random(4).randbytes(300)
    for data in (b"", b"\xa0", noise):
        garbage.write_bytes(data)
        for command, code in (
            (
                ("issue", "x", *world.site("fleet"), "--request", garbage, "--schema", "s", "--out", "o"),
                EXIT_USAGE,
            ),
            (("keep", car, garbage, *world.phrase), EXIT_USAGE),
            (("present", car, garbage, *world.phrase, "--out", "o"), EXIT_USAGE),
            (("verify", garbage, *world.site("a")), EXIT_NOT_PROVEN),
        ):
            world.cpc("credential", *command, exit_code=code)
    world.file("car.wallet.credentials").write_bytes(noise)
    world.cpc("credential", "show", car, *world.phrase, exit_code=EXIT_FAILED)
    assert "does not open with this wallet" in world.cpc.err
