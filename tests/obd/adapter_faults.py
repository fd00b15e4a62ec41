"""Stories of an adapter that falls out of step: no prompt, restarts, silence, and what is no adapter."""

from tests.obd.stories import FOUND

FAULTS = {
    "no prompt, yet the answer is whole: used, and the adapter is brought into step": FOUND
    + """
        ask 010C
        > 010C
        < 7E804410C1AF8\\r\\r
        wait 2000
        > ATE0
        < STOPPED\\r\\r>
        < OK\\r\\r>
        = 7E8:410C1AF8
    """,
    "no prompt after half a line: nothing is made of it": FOUND
    + """
        ask 010C
        > 010C
        < 7E804410C1A
        wait 2000
        > ATE0
        < OK\\r\\r>
        = interrupted: the adapter gave no prompt in time
    """,
    "silence for good": FOUND
    + """
        ask 010C
        > 010C
        wait 2000
        > ATE0
        wait 1000
        > ATE0
        wait 1000
        > ATE0
        wait 1000
        > ATE0
        wait 1000
        = down
    """,
    "the wrong baud rate": """
        > ATE0
        < \\xe7\\x92\\xff
        wait 1000
        > ATE0
        < \\xe7\\x92
        wait 1000
        > ATE0
        wait 1000
        > ATE0
        wait 1000
        = down
    """,
    "something that is no adapter": """
        > ATE0
        < OK\\r\\r>
        > ATZ
        < ?\\r\\r>
        > ATE0
        < ?\\r\\r>
        > ATL0
        < ?\\r\\r>
        > ATS0
        < ?\\r\\r>
        > ATH1
        < ?\\r\\r>
        > ATAT1
        < ?\\r\\r>
        > ATSP0
        < ?\\r\\r>
        > ATI
        < ?\\r\\r>
        > ATRV
        < ?\\r\\r>
        = down
    """,
    "the supply sags while the engine is started, and the adapter forgets everything": FOUND
    + """
        ask 010C
        > 010C
        < \\r\\rELM327 v1.5\\r\\r>
        = interrupted: the adapter has restarted
        > ATE0
        < ATE0\\rOK\\r\\r>
        > ATZ
        < \\r\\rELM327 v1.5\\r\\r>
        > ATE0
        < OK\\r\\r>
        > ATL0
        < OK\\r\\r>
        > ATS0
        < OK\\r\\r>
        > ATH1
        < OK\\r\\r>
        > ATAT1
        < OK\\r\\r>
        > ATSP0
        < OK\\r\\r>
        > ATI
        < ELM327 v1.5\\r\\r>
        > ATRV
        < 9.8V\\r\\r>
        = ready
    """,
    "low voltage reset": FOUND
    + """
        ask 010C
        > 010C
        < LV RESET\\r\\r>
        = interrupted: the adapter has restarted
        > ATE0
    """,
    "a command of the start is lost, and repeated": """
        > ATE0
        < OK\\r\\r>
        > ATZ
        wait 4000
        > ATE0
        < ELM327 v1.5\\r\\r>
        < OK\\r\\r>
        > ATZ
        < ELM327 v1.5\\r\\r>
        > ATE0
    """,
}
