"""Sections [uplink] and [remote]: what they mean, and what is said to whoever writes them wrongly."""

from pathlib import Path

import pytest

from gateway.config import AUDIT_SOURCE, ConfigError, GatewayConfig, parse
from gateway.config_uplink import RemoteSection, UplinkSection
from gateway.reload import ReloadRefused, changes

FILE = Path("site/gateway.toml")
STREAM = '[[stream]]\nname = "can0"\nsource = "can:can0"\n'
DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
BROKER = '[uplink]\nurl = "mqtts://broker.example:8883"\n'


def config(text: str) -> GatewayConfig:
    return parse(STREAM + text, FILE)


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config(text)
    (found,) = caught.value.problems
    return f"{found.problem}; {found.hint}"


def test_without_sections_there_is_no_uplink_and_nobody_commands() -> None:
    assert config("").uplink == UplinkSection()
    assert not config("").uplink.is_on
    assert config("").remote == RemoteSection()
    assert [stream.name for stream in config("").streams] == ["can0"]


def test_files_are_relative_to_the_configuration() -> None:
    section = config(
        BROKER + 'ca_file = "ca.pem"\nusername = "u"\npassword_file = "/etc/secret"\n'
    ).uplink_files
    folder = FILE.absolute().parent
    assert (section.ca_file, section.password_file, section.cert_file) == (
        str(folder / "ca.pem"),
        "/etc/secret",
        "",
    )


def test_operators_bring_an_audit_stream() -> None:
    made = config(BROKER + f'[remote]\noperators = ["{DID}"]\naudit_stream = "log"\n')
    assert [(stream.name, stream.source) for stream in made.streams] == [
        ("can0", "can:can0"),
        ("log", AUDIT_SOURCE),
    ]


def test_a_stream_has_its_own_loss_policy() -> None:
    made = config('uplink = "drop-oldest"\n[[stream]]\nname = "b"\nsource = "sim:car"\n' + BROKER)
    assert [made.uplink_policy(stream) for stream in made.streams] == ["drop-oldest", "block"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[uplink]\nurl = "http://x"', "is no mqtt or mqtts address"),
        ('[uplink]\nurl = "mqtt://u:p@x"', "holds a user or password; write username"),
        ('[uplink]\nurl = "mqtt://x/topic"', "has something behind the host; write the topic as topic"),
        ('[uplink]\nurl = "mqtt://x"\nca_file = "ca"', "ca_file is for TLS, which url does not ask for"),
        (BROKER + 'password_file = "p"', "password_file is given without username"),
        (BROKER + 'version = "4"', 'is not known; write one of "5", "3.1.1"'),
        (BROKER + 'topic = "a/+"', "makes no topic: a topic to publish on has none of"),
        (BROKER + 'topic = "a/{what}"', "{what} is not known; there are {gateway}, {stream}, {kind}"),
        (BROKER + 'state_topic = "{stream}"', "{stream} is not known; there are {gateway}"),
        (BROKER + 'policy = "off"', 'is not known; write one of "block", "drop-oldest", "drop-newest"'),
        (BROKER + "window = 0", "is too small: nothing could leave; write at least 1"),
        (BROKER + "batch_s = 1", "say it in milliseconds: batch_ms = 1000"),
        ('uplink = "lose"', 'is not known; write one of "block", "drop-oldest", "drop-newest", "off"'),
        (BROKER + '[remote]\noperators = ["x"]', "is no did:key"),
        (BROKER + "[remote]\nmay_configure = 1", "is neither true nor false; write may_configure = true"),
        (f'[remote]\noperators = ["{DID}"]', "there is none; write [uplink] with its url"),
        (
            BROKER + f'[remote]\noperators = ["{DID}"]\naudit_stream = "can0"',
            "audit_stream is called can0, and so is another stream",
        ),
    ],
)
def test_a_wrong_line_says_what_to_write(text: str, said: str) -> None:
    assert said in problem(text)


# Reloading


def test_streams_come_go_and_change_while_the_gateway_runs() -> None:
    old = config("")
    new = parse(
        '[[stream]]\nname = "can0"\nsource = "can:can1"\nupload_segments = 3\n'
        '[[stream]]\nname = "b"\nsource = "sim:car"\n',
        FILE,
    )
    plan = changes(old, new)
    assert str(plan) == "streams: added b; changed can0"
    assert str(changes(new, old)) == "streams: removed b; changed can0"
    assert str(changes(old, old)) == "no stream has changed"


def test_operators_may_change_but_not_the_last_one_go() -> None:
    old = config(BROKER + f'[remote]\noperators = ["{DID}"]')
    new = config(BROKER + f'[remote]\noperators = ["{DID}", "{DID}"]\nmay_configure = false')
    assert changes(old, new).keys == ("remote.operators", "remote.may_configure")
    with pytest.raises(ReloadRefused, match=r"\[remote\] operators: the last one cannot leave"):
        changes(old, config(BROKER))
