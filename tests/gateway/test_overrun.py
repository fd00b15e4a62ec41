"""More comes than can be stored: the policy of the stream says what goes, and anchored gaps count it."""

import asyncio
from pathlib import Path

import pytest

from gateway.cli_gateway import CONFIG_NAME
from gateway.config import ConfigError, parse
from gateway.sensors.schemes import SCHEMES, open_source, overruns
from gateway.sensors.source import BLOCK, DROP_NEWEST, DROP_OLDEST, BadSourceUrl, Gap
from tests.gateway.anchored import LabNode
from tests.gateway.mqtt_broker import TestBroker
from tests.gateway.running import Site
from tests.gateway.test_app import HASTY, LONG_MS, SmallDisk, running
from tests.gateway.waiting import until

TIMEOUT_S = 20.0
COUNT = 500
QUEUE = 20
STREAM = """
[[stream]]
name = "m"
source = "mqtt://127.0.0.1:{port}/a?v={version}&queue={queue}"
overrun = "{overrun}"
upload_segments = 1
"""


async def overrun_site(folder: Path, version: str, overrun: str) -> tuple[list[int], list[Gap], int]:
    """Numbers that were stored, gaps for the others, and acknowledgements that the broker got."""
    async with LabNode(folder / "chain") as node, TestBroker() as broker:
        site = Site(folder / "site", node.url, node.genesis, disk_free_min_mib=64)
        text = (site.folder / CONFIG_NAME).read_text().partition("[[stream]]")[0]
        text += STREAM.format(port=broker.port, version=version, queue=QUEUE, overrun=overrun)
        (site.folder / CONFIG_NAME).write_text(text)
        disk = SmallDisk()
        async with running(site.app(clock=HASTY, disk=disk), LONG_MS) as app:
            (stream,) = app.streams
            await until(lambda: any(session.filters for session in broker.sessions.values()))
            # Storing is as slow as can be: not at all, for a while.
            disk.free = 0
            broker.publish("a", b"0")
            await until(lambda: stream.is_full)
            for number in range(1, COUNT):
                broker.publish("a", b"%d" % number)
                await asyncio.sleep(0)
            source = stream.source
            if overrun != BLOCK:
                await until(lambda: source.stats.dropped > COUNT // 2)
            disk.free = 1 << 40
            await until(lambda: broker.puback_count >= COUNT)
            app.stop()
        records = [record.value for record in site.records("m")]
        gaps = [value for value in records if isinstance(value, Gap)]
        numbers = [int(value["payload"]) for value in records if not isinstance(value, Gap)]
        assert source.stats.dropped == sum(gap.count for gap in gaps)
        return numbers, gaps, broker.puback_count


@pytest.mark.parametrize(
    ("overrun", "version"),
    [(BLOCK, "5"), (BLOCK, "3.1.1"), (DROP_OLDEST, "5"), (DROP_NEWEST, "3.1.1")],
)
def test_what_is_not_stored_is_counted_in_anchored_gaps(
    tmp_path: Path, overrun: str, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            numbers, gaps, acknowledged = await overrun_site(tmp_path, version, overrun)
        lost = sum(gap.count for gap in gaps)
        with capsys.disabled():
            print(
                f"\n{overrun}, MQTT {version}: {COUNT} came, {len(numbers)} stored, {lost} counted in "
                f"{len(gaps)} gap records, {acknowledged} acknowledged"
            )
        assert len(numbers) + lost == COUNT == acknowledged
        assert numbers == sorted(set(numbers))
        if overrun == BLOCK:
            assert numbers == list(range(COUNT))
        else:
            assert lost > COUNT // 2
            # The first was under way, and what came last is there only where the oldest go.
            assert numbers[0] == 0
            assert (numbers[-1] == COUNT - 1) is (overrun == DROP_OLDEST)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("source", "overrun", "why"),
    [
        (
            "can:can0",
            "block",
            'its source does not wait, so something must go when storing is slower; write "',
        ),
        (
            "mqtt://h/t?qos=0",
            "block",
            "its source does not wait, so something must go when storing is slower",
        ),
        ("replay:trip.trc", "drop-oldest", "its source waits, and loses nothing; leave it out"),
        ("can:can0", "drop", 'is not known; write one of "block", "drop-oldest", "drop-newest"'),
    ],
)
def test_a_policy_that_the_source_cannot_follow_is_refused(source: str, overrun: str, why: str) -> None:
    text = f'[[stream]]\nname = "a"\nsource = "{source}"\noverrun = "{overrun}"\n'
    with pytest.raises(ConfigError) as caught:
        parse(text, Path("gateway.toml"))
    assert str(caught.value).startswith(f'gateway.toml:4: stream "a": overrun = "{overrun}"')
    assert why in str(caught.value)


def test_each_kind_of_source_follows_a_policy_unless_told_otherwise() -> None:
    assert overruns("can:can0") == (DROP_NEWEST, DROP_OLDEST)
    assert overruns("mqtt://h/t") == (BLOCK, DROP_NEWEST, DROP_OLDEST)
    assert overruns("mqtt://h/t?qos=0") == (DROP_NEWEST, DROP_OLDEST)
    assert all(scheme.overruns == (BLOCK,) for scheme in SCHEMES.values() if scheme.is_file)
    assert open_source("sim:car", name="a").overrun == BLOCK
    with pytest.raises(BadSourceUrl, match="its loss policy cannot be block; allowed are drop-newest"):
        open_source("can+virtual:b", name="a", overrun=BLOCK)
