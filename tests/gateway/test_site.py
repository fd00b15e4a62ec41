"""Opening an archive: as its owner, or as a reader with a grant."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.archive import ReadReport, manifest_name
from gateway.cli_read import EVER_NS
from gateway.config import ConfigError, UnknownStream
from gateway.crypto.errors import GrantDamaged, GrantNotForYou, KeyFileMissing
from gateway.crypto.grant import make_grant
from gateway.crypto.key_file import create_reader_key, load_gateway_key
from gateway.disk import FileMissing, FileTooLarge
from gateway.errors import StoreError
from gateway.pipeline import StreamPipeline
from gateway.sensors.source import Gap
from gateway.site import open_as_owner, open_as_reader, stream_keys, stream_of
from gateway.spool import Spool
from gateway.store import LocalStore
from tests.chain_node.world import genesis_of
from tests.gateway.running import Site, fed_sources
from tests.gateway.telemetry import NOON_NS, can_batch, store_segments


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A gateway with twenty seconds of records, stored and not anchored."""
    with fed_sources():
        site = Site(tmp_path / "site", "http://127.0.0.1:1", genesis_of(), ("can0", "can1"))
        config, key = site.config, site.key
        config.spool_path.mkdir()
        spool = Spool(config.spool_path / "spool.db", key.spool_key)
        store = LocalStore(config.store_path)
        pipeline = StreamPipeline(spool, stream_keys(key, config.streams[0]), "can0", "can", 1_000, 5, 0)
        batch = can_batch(200, step_ns=100_000_000)
        batch.gaps.append((200, Gap("the clock jumped", 0, NOON_NS - 10**9, NOON_NS + 25 * 10**9)))
        pipeline.accept(batch, 0)
        pipeline.flush()
        store_segments(spool, store)
        (stream,) = spool.streams()
        while (upload := spool.form_upload(stream, 1, is_flush=True)) is not None:
            manifest = upload.manifest
            store.put({manifest.digest: manifest.encode()})
            store.put_named(manifest_name(manifest.stream_id, manifest.upload_index), manifest.digest)
        store.close()
        spool.close()
        yield site


def test_the_owner_sees_the_first_stream_or_the_one_named(site: Site) -> None:
    with open_as_owner(site.config.file, None) as reader:
        assert reader.archive.name == "can0"
        assert len(list(reader.archive.records(*EVER_NS, ReadReport()))) == 201
        assert reader.owner == site.key.identity.public
    with open_as_owner(site.config.file, "can1") as reader:
        assert list(reader.archive.records(*EVER_NS, ReadReport())) == []
        assert reader.span_ns() == (0, 0)
    with pytest.raises(UnknownStream, match="no stream is called 'can9'"):
        open_as_owner(site.config.file, "can9")
    assert stream_of(site.config, None) is not None


def test_the_span_is_that_of_all_records_gaps_included(site: Site) -> None:
    steps: list[tuple[int, int]] = []
    with open_as_owner(site.config.file, None) as reader:
        span_ns = reader.span_ns(lambda done, total: steps.append((done, total)))
    assert span_ns == (NOON_NS - 10**9, NOON_NS + 25 * 10**9)
    assert steps == [(number, len(steps)) for number in range(len(steps))]
    assert len(steps) >= 4


def test_the_span_leaves_out_what_cannot_be_read_and_names_it(site: Site) -> None:
    with open_as_owner(site.config.file, None) as reader:
        last = reader.archive.upload_indexes()[-1]
        digest = reader.archive.manifest(last).digest
    store = LocalStore(site.config.store_path)
    store._database.execute("UPDATE chunk SET body = x'00' WHERE chunk_id = ?", (digest,))
    store.close()
    report = ReadReport()
    with open_as_owner(site.config.file, None) as reader:
        # The last upload has the gap, and the last five seconds.
        assert reader.span_ns(report=report) == (NOON_NS, NOON_NS + 14_900_000_000)
    (problem,) = report.problems
    assert problem.startswith(f"upload {last}: chunk ")


def test_what_is_missing_is_told(site: Site, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_as_owner(tmp_path / "nowhere.toml", None)
    (site.folder / "gateway.key").rename(tmp_path / "gateway.key")
    with pytest.raises(KeyFileMissing):
        open_as_owner(site.config.file, None)
    (tmp_path / "gateway.key").rename(site.folder / "gateway.key")
    (site.folder / "store").rename(tmp_path / "store")
    with pytest.raises(StoreError, match="holds no chunk store"):
        open_as_owner(site.config.file, None)


def test_a_reader_sees_the_stream_of_the_grant(site: Site, tmp_path: Path) -> None:
    stream = site.config.streams[0]
    keys = stream_keys(site.key, stream)
    bob = create_reader_key(tmp_path / "bob.key")
    create_reader_key(tmp_path / "eve.key")
    slot = (NOON_NS - 1_262_304_000 * 10**9) // (5 * 10**9) + 1
    data = make_grant(
        site.key.identity, keys.tree, keys.stream_id, "can0", stream.slot_ms, slot, slot, bob.public
    )
    path = tmp_path / "bob.grant"
    path.write_bytes(data)
    store = site.config.store_path
    reader, grant = open_as_reader(path, tmp_path / "bob.key", store, ())
    with reader:
        report = ReadReport()
        records = list(reader.archive.records(*EVER_NS, report))
        assert len(records) == 50
        assert all(grant.from_ns <= record.taken_ns < grant.to_ns for record in records)
        assert report.not_granted_count == 151
        assert (reader.owner, grant.owner) == (site.key.identity.public,) * 2
    with pytest.raises(GrantNotForYou):
        open_as_reader(path, tmp_path / "eve.key", store, ())
    path.write_bytes(data[:-1])
    with pytest.raises(GrantDamaged):
        open_as_reader(path, tmp_path / "bob.key", store, ())
    path.write_bytes(data * 100)
    with pytest.raises(FileTooLarge):
        open_as_reader(path, tmp_path / "bob.key", store, ())
    with pytest.raises(FileMissing):
        open_as_reader(tmp_path / "no.grant", tmp_path / "bob.key", store, ())


def test_the_keys_of_a_stream_depend_on_owner_name_and_slot(site: Site) -> None:
    first, second = site.config.streams
    ids = {stream_keys(site.key, stream).stream_id for stream in (first, second)}
    assert len(ids) == 2
    assert load_gateway_key(site.config.key_path).identity.public == site.key.identity.public
