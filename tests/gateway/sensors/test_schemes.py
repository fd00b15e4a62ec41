"""The string that opens a source: what it may say, and how it is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors import schemes as module
from gateway.sensors.schemes import Scheme, open_source, parse_url
from gateway.sensors.source import (
    NOTES_MAX,
    BadSourceUrl,
    Clock,
    Source,
    SourceError,
    SourceStats,
    SourceUnavailable,
    SourceUrl,
)


@pytest.mark.parametrize("word", list(module.SCHEMES))
def test_the_example_of_each_scheme_is_itself_understood(word: str) -> None:
    url, scheme = parse_url(module.SCHEMES[word].example)
    assert scheme is module.SCHEMES[word]
    assert url.text == scheme.example
    assert set(url.options) <= set(scheme.options)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "unknown kind ''; known are can, can+virtual, can+udp, replay, sim"),
        ("can", "unknown kind 'can'"),
        ("usb:x", "unknown kind 'usb'"),
        ("can:", "nothing behind can:"),
        ("can:?fd=1", "nothing behind can:"),
        ("can:can0?fd", "options are written name=value, joined by &; for example: can:can0"),
        ("can:can0?baud=1", "unknown option 'baud'; can: knows bitrate, fd, queue, wait"),
        ("can:can0?fd=1&fd=0", "option 'fd' is given twice"),
        ("can:can0?fd=yes", "fd=yes: allowed are 0, 1"),
        ("can:can0?bitrate=500k", "bitrate=500k: allowed is a whole number from 1000 to 1000000"),
        ("can:can0?bitrate=١", "allowed is a whole number"),
        ("can+udp:127.0.0.1", "'127.0.0.1' is no multicast address"),
        ("can+udp:here", "for example: can+udp:239.74.163.2"),
        ("can+udp:239.74.163.2?port=70000", "port=70000: allowed is a whole number from 1 to 65535"),
        ("sim:boat", "unknown model 'boat'; known is car"),
        ("sim:car?rate_hz=1", "rate_hz=1: allowed is a whole number from 10 to 100000"),
        ("replay:a.trc?speed=fast", "speed=fast: allowed are max, or a factor from 0.001 to 1000000"),
        ("replay:a.trc?speed=nan", "speed=nan"),
        ("replay:a.trc?speed=-1", "speed=-1"),
        ("replay:a.trc?start=never", "start=never: allowed are now, recorded"),
        ("replay:a.trc?loop=-1", "loop=-1: allowed is a whole number from 0"),
    ],
)
def test_a_wrong_string_is_refused_with_what_is_allowed(url: str, reason: str) -> None:
    with pytest.raises(BadSourceUrl) as caught:
        open_source(url, name="x")
    assert caught.value.url == url
    assert reason in str(caught.value)


def test_a_file_with_a_question_mark_in_its_name_can_be_written() -> None:
    assert parse_url("replay:what?.trc?speed=max")[0].target == "what?.trc"
    assert parse_url("replay:what?.trc?")[0].target == "what?.trc"
    assert parse_url("replay:100%20.trc")[0].target == "100%20.trc"


def test_a_missing_file_is_told_when_the_source_is_opened() -> None:
    with pytest.raises(SourceUnavailable, match=r"/nowhere\.trc: No such file"):
        open_source("replay:/nowhere.trc", name="x")


def test_a_new_kind_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[SourceUrl, str]] = []

    def opener(url: SourceUrl, name: str, clock: Clock) -> Source:
        seen.append((url, name))
        raise url.bad(f"port {url.number('port', 9, 1, 99)}")

    monkeypatch.setitem(module.SCHEMES, "obd", Scheme(opener, "obd:/dev/rfcomm0", ("port",)))
    with pytest.raises(BadSourceUrl, match="port 38"):
        open_source("obd:/dev/rfcomm0?port=38", name="car")
    assert (seen[0][0].target, seen[0][1]) == ("/dev/rfcomm0", "car")


def test_notes_are_kept_once_and_bounded() -> None:
    stats = SourceStats()
    for number in range(NOTES_MAX + 7):
        stats.note(f"note {number}")
        stats.note("note 0")
    assert len(stats.notes) == NOTES_MAX
    assert stats.notes_dropped == 7 + 8


@given(st.text(max_size=80))
@settings(deadline=None)
def test_any_string_is_refused_by_a_source_error_or_understood(text: str) -> None:
    for url in (text, f"can+virtual:{text}", f"replay:/nowhere?{text}"):
        try:
            parsed, scheme = parse_url(url)
        except SourceError as error:
            refused = error
        else:
            assert parsed.text == url
            assert set(parsed.options) <= set(scheme.options)
            continue
        assert isinstance(refused, BadSourceUrl)
        assert refused.url == url
