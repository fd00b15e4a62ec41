"""What is taken out of DBC files that strict loaders refuse, and what is said about it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.dbc_repair import drop_statement, repair

GOOD = """VERSION ""

BU_: Car

BO_ 291 Engine: 8 Car
 SG_ Speed : 0|16@1+ (0.25,0) [0|16383.75] "rpm" Vector__XXX
 SG_ Gear M : 16|4@1+ (1,0) [0|15] "" Vector__XXX
 SG_ Oil m2 : 24|8@1+ (1,-40) [-40|215] "degC" Vector__XXX

CM_ SG_ 291 Speed "first line
BO_ 5 not a message: 8 but a comment
last line";
VAL_ 291 Gear 0 "Neutral" 1 "First" ;
SIG_VALTYPE_ 291 Speed : 0;
SG_MUL_VAL_ 291 Oil Gear 2-2;
"""

INDEPENDENT = """BO_ 3221225472 VECTOR__INDEPENDENT_SIG_MSG: 0 Vector__XXX
 SG_ Lost : 0|8@1+ (1,0) [0|0] "" Vector__XXX
VAL_ 3221225472 Lost 0 "a" ;"""


def test_a_sound_file_is_left_as_it_is() -> None:
    assert repair(GOOD) == (GOOD, [])


@pytest.mark.parametrize(
    ("added", "note"),
    [
        ('VAL_ 291 Boost 0 "a" ;', "VAL_ for unknown signal Boost of Engine; ignored"),
        ('VAL_ 999 Boost 0 "a" ;', "VAL_ for unknown message 999; ignored"),
        ("SIG_VALTYPE_ 291 Boost : 1;", "SIG_VALTYPE_ for unknown signal Boost of Engine; ignored"),
        ("SG_MUL_VAL_ 291 Boost Gear 1-1;", "SG_MUL_VAL_ for unknown signal Boost of Engine; ignored"),
        (
            INDEPENDENT,
            "message VECTOR__INDEPENDENT_SIG_MSG (id 0xC0000000) is on no bus; left out",
        ),
        (
            'BO_ 1075054137 Sub: 8 Car\n SG_ A : 0|8@1+ (1,0) [0|0] "" Car\nVAL_ 1075054137 A 0 "a" ;',
            "message Sub has the pseudo id 0x40140639, which no frame can carry; left out",
        ),
        (
            "BO_ 4294967295 Far: 8 Car",
            "message Far has the extended id 0x7FFFFFFF, above 29 bits; left out",
        ),
        ("BO_ 291 Twin: 8 Car", "message Twin has the id 291 of Engine; left out"),
        ("BO_ 7 Huge: 100000 Car", "message Huge has 100000 bytes; left out"),
    ],
)
def test_what_means_nothing_is_emptied_and_named_with_its_line(added: str, note: str) -> None:
    text, notes = repair(GOOD + added + "\n")
    assert text == GOOD + "\n" * (added.count("\n") + 1)
    assert notes == [f"line {GOOD.count(chr(10)) + 1}: {note}"]


@pytest.mark.parametrize(
    ("signal", "note"),
    [
        ("Empty : 0|0@1+", "signal Empty of Engine has no bits; left out"),
        ("Speed : 0|8@1+", "signal Speed of Engine is there twice; left out"),
        ("Wide : 0|999999999@1+", "signal Wide of Engine has 999999999 bits at 0; left out"),
    ],
)
def test_signals_that_cannot_be_are_emptied(signal: str, note: str) -> None:
    line = f' SG_ {signal} (1,0) [0|0] "" Car\n'
    text, notes = repair(GOOD.replace("\nCM_", line + "\nCM_"))
    assert text == GOOD.replace("\nCM_", "\n\nCM_")
    assert notes == [f"line 9: {note}"]


def test_a_multiplexer_marked_m_is_read_as_one() -> None:
    text, notes = repair(GOOD.replace("Gear M :", "Gear m :"))
    assert text == GOOD
    assert notes == ["line 7: m without a number at Gear of Engine; read as M"]


def test_the_signals_of_a_message_left_out_need_no_word_of_their_own() -> None:
    text, notes = repair(GOOD.replace("291", "99999"))
    assert notes == ["line 5: message Engine has the pseudo id 0x1869F, which no frame can carry; left out"]
    assert "SG_ Speed" not in text
    assert "VAL_" not in text


def test_a_statement_is_dropped_whole() -> None:
    for line in (10, 11, 12):
        dropped = drop_statement(GOOD, line)
        assert dropped is not None
        text, shown = dropped
        assert shown == 'CM_ SG_ 291 Speed "first line'
        assert text.splitlines()[9:13] == ["", "", "", 'VAL_ 291 Gear 0 "Neutral" 1 "First" ;']
    assert drop_statement(GOOD, 2) is None
    assert drop_statement(GOOD, 99) is None


@given(st.text(max_size=300), st.integers(0, 20))
@settings(deadline=None)
def test_any_text_keeps_its_lines(text: str, line: int) -> None:
    repaired, _ = repair(text)
    assert len(repaired.splitlines()) == max(len(text.splitlines()), 1 if not text.splitlines() else 0)
    dropped = drop_statement(text, line)
    assert dropped is None or len(dropped[0].splitlines()) == len(text.splitlines())
