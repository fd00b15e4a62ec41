"""What a changed configuration means: every key changes while the gateway runs, or is refused by its name."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config import GatewayConfig, StreamConfig
from gateway.reload import FIXED, SECTIONS, ReloadRefused, changes

CAN0 = StreamConfig("can0", "sim:car")
CAN1 = StreamConfig("can1", "sim:car")
OLD = GatewayConfig(file=Path("gateway.toml"), streams=(CAN0, CAN1))
REMOTE = replace(OLD, remote=replace(OLD.remote, operators=("did:key:z6MkA",)))


def other(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "x"
    return (*value, "x")


def changed(config: GatewayConfig, section: str, key: str) -> GatewayConfig:
    after = other(getattr(getattr(config, section), key))
    return replace(config, **{section: replace(getattr(config, section), **{key: after})})


@pytest.mark.parametrize(
    ("section", "key"),
    [(section, field.name) for section in SECTIONS for field in fields(getattr(OLD, section))],
)
def test_a_key_outside_of_streams_changes_or_is_refused_by_its_name(section: str, key: str) -> None:
    new = changed(REMOTE, section, key)
    if key in FIXED.get(section, {}):
        with pytest.raises(ReloadRefused) as caught:
            changes(REMOTE, new)
        assert f"[{section}] {key}: {FIXED[section][key]}" in str(caught.value)
        assert "restart the gateway" in str(caught.value)
    else:
        plan = changes(REMOTE, new)
        assert plan.keys == (f"{section}.{key}",)
        assert (plan.has(section), plan.added, plan.removed, plan.changed) == (True, (), (), ())
        assert str(plan) == f"no stream has changed; other keys: {section}.{key}"


def test_every_key_of_a_stream_changes_but_its_name_which_is_another_stream() -> None:
    for field in fields(StreamConfig):
        after: Any = "can2" if field.name == "name" else other(getattr(CAN0, field.name))
        new = replace(CAN0, **{field.name: after})
        plan = changes(OLD, replace(OLD, streams=(new, CAN1)))
        if field.name == "name":
            assert (plan.added, plan.removed, plan.changed) == ((new,), ("can0",), ())
        else:
            assert (plan.added, plan.removed, plan.changed) == ((), (), (new,))


def test_all_that_stands_against_it_is_said_at_once() -> None:
    new = changed(changed(changed(REMOTE, "spool", "path"), "chain", "genesis"), "remote", "audit_stream")
    with pytest.raises(ReloadRefused) as caught:
        changes(REMOTE, replace(new, remote=replace(new.remote, operators=())))
    for what in ("[spool] path", "[chain] genesis", "[remote] audit_stream", "[remote] operators"):
        assert what in str(caught.value)


def test_who_may_command_for_the_first_time_needs_no_restart() -> None:
    new = replace(REMOTE, remote=replace(REMOTE.remote, audit_stream="commands"))
    assert changes(OLD, new).keys == ("remote.operators", "remote.audit_stream")


def test_what_has_changed_is_said_in_words() -> None:
    assert str(changes(OLD, OLD)) == "no stream has changed"
    new = replace(OLD, streams=(replace(CAN0, block_ms=5), StreamConfig("b", "x"), StreamConfig("c", "x")))
    assert str(changes(OLD, new)) == "streams: added b, c; removed can1; changed can0"


def test_only_keys_of_the_connection_make_another_broker() -> None:
    assert changes(OLD, changed(OLD, "uplink", "ca_file")).is_other_broker
    assert not changes(OLD, changed(OLD, "uplink", "topic")).is_other_broker
