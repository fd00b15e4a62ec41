"""Stories of an adapter that answers: words beside data and in its place, and every shape of lines."""

from tests.obd.stories import FOUND, START

ANSWERS = {
    "all is well": FOUND
    + """
        ask 010C x1
        > 010C1
        < 7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
        ask 010D x1
        > 010D1
        < 7E803410D32\\r\\r>
        = 7E8:410D32
    """,
    "half lines, and halves of halves": FOUND
    + """
        ask 010C
        > 010C
        < 7E
        < 804410C1
        < AF8\\r
        < \\r
        < >
        = 7E8:410C1AF8
    """,
    "searching goes on for seconds, on one line with the answer": START
    + """
        ask 0100
        > 0100
        < SEARCHING
        wait 3000
        < ...
        wait 6000
        < 7E8064100BE3FA813\\r\\r>
        > ATDPN
        < A6\\r\\r>
        = 7E8:4100BE3FA813
    """,
    "no data": FOUND
    + """
        ask 0146
        > 0146
        < NO DATA\\r\\r>
        = no data: NODATA
    """,
    "buffer full: what came before it is told, and that it is not all": FOUND
    + """
        ask 0902
        > 0902
        < 7E8064100BE3FA813\\r7E8101449020131443447\\rBUFFER FULL\\r\\r>
        = adapter overrun: BUFFERFULL
    """,
    "stopped: asked once more": FOUND
    + """
        ask 010C
        > 010C
        < STOPPED\\r\\r>
        > 010C
        < 7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
    """,
    "stopped again: told": FOUND
    + """
        ask 010C
        > 010C
        < STOPPED\\r\\r>
        > 010C
        < STOPPED\\r\\r>
        = interrupted: STOPPED
    """,
    "can error": FOUND
    + """
        ask 010C
        > 010C
        < CAN ERROR\\r\\r>
        = bus fault: CANERROR
    """,
    "bus busy, and an error behind data": FOUND
    + """
        ask 010C
        > 010C
        < BUS BUSY\\r\\r>
        = bus fault: BUSBUSY
        ask 010C
        > 010C
        < 7E804410C1AF8<DATA ERROR\\r\\r>
        = damaged: 7E804410C1AF8<DATAERROR
        ask 010C
        > 010C
        < 7E804410C1AF8<RX ERROR\\r7E904410C1AF8\\r\\r>
        = 7E9:410C1AF8
    """,
    "bus init fails on an old car": START
    + """
        ask 0100
        > 0100
        < BUS INIT: ...ERROR\\r\\r>
        = no car: BUS INIT: ERROR
    """,
    "bus init works on an old car": START
    + """
        ask 0100
        > 0100
        < BUS INIT: ...OK\\r486B104100BE3EB811FA\\r\\r>
        > ATDPN
        < A3\\r\\r>
        = 10:4100BE3EB811
    """,
    "engine off, then on, and the protocol is looked for anew": FOUND
    + """
        ask 010C
        > 010C
        < UNABLE TO CONNECT\\r\\r>
        = no car: UNABLETOCONNECT
        ask 0100
        > 0100
        < SEARCHING...\\rUNABLE TO CONNECT\\r\\r>
        = no car: UNABLETOCONNECT
        ask 0100
        > 0100
        < SEARCHING...\\r18DAF110064100BE3FA813\\r\\r>
        > ATDPN
        < A7\\r\\r>
        = 18DAF110:4100BE3FA813
    """,
    "an answer to the question before is not taken for one to this": FOUND
    + """
        ask 010D x1
        > 010D1
        < 7E804410C1AF8\\r\\r>
        = damaged: 7E804410C1AF8
    """,
    "response pending, then the answer": FOUND
    + """
        ask 22F190
        > 22F190
        < 7E8037F2278\\r7E80562F1904142\\r\\r>
        = 7E8:62F1904142
        ask 22F190
        > 22F190
        < 7E8037F2278\\r\\r>
        = pending
    """,
    "refused": FOUND
    + """
        ask 22F190
        > 22F190
        < 7E8037F2231\\r\\r>
        = 7E8:7F2231
    """,
    "it babbles between questions": FOUND
    + """
        < ACT ALERT\\r>
        ask 010C
        > 010C
        < 7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
    """,
    "an empty answer is asked again": FOUND
    + """
        ask 010C
        > 010C
        < \\r>
        > 010C
        < 7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
    """,
    "the echo cannot be switched off": FOUND
    + """
        ask 010C
        > 010C
        < 010C\\r7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
        ask 010C x1
        > 010C1
        < 010C1\\r\\n7E804410C1AF8\\r\\n\\r\\n>
        = 7E8:410C1AF8
        ask 010C
        > 010C
        < 010C7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
    """,
    "spaces, line feeds and NUL bytes": FOUND
    + """
        ask 010C
        > 010C
        < 7E8 04 41 0C 1A F8 \\r\\n\\r\\n>
        = 7E8:410C1AF8
        ask 010C
        > 010C
        < \\x007E8\\x00 04 4\\x001 0C 1A F8\\r\\x00\\r>
        = 7E8:410C1AF8
    """,
    "a byte turns into nonsense": FOUND
    + """
        ask 010C
        > 010C
        < 7E8\\xe94410C1AF8\\r\\r>
        = damaged: 7E8~4410C1AF8
    """,
    "a clone says 2.1 and does not know a digit behind the query": START.replace("v1.5", "v2.1")
    + """
        ask 0100
        > 0100
        < 7E8064100BE3FA813\\r\\r>
        > ATDPN
        < ?\\r\\r>
        = 7E8:4100BE3FA813
        ask 010C x1
        > 010C1
        < ?\\r\\r>
        > 010C
        < 7E804410C1AF8\\r\\r>
        = 7E8:410C1AF8
        ask 010D x1
        > 010D
        < 7E803410D32\\r\\r>
        = 7E8:410D32
    """,
    "a clone acknowledges headers and shows none": START
    + """
        ask 0100
        > 0100
        < 41 00 BE 3F A8 13 \\r\\r>
        > ATDPN
        < A6\\r\\r>
        = ?:4100BE3FA813
        ask 0902
        > 0902
        < 014 \\r0: 49 02 01 31 4D 38 \\r1: 47 44 4D 39 41 58 4B \\r2: 50 30 34 32 37 38 38 \\r\\r>
        = ?:490201314D3847444D3941584B50303432373838
    """,
    "a long answer with headers": FOUND
    + """
        ask 0902
        > 0902
        < 7E81014490201314D38\\r7E82147444D3941584B\\r7E82250303432373838\\r\\r>
        = 7E8:490201314D3847444D3941584B50303432373838
    """,
    "two ECUs with long answers, interleaved": FOUND
    + """
        ask 0904
        > 0904
        < 7E8100A490401414243\\r7E9100A490401515253\\r7E82144454647AAAAAA\\r7E92154555657AAAAAA\\r\\r>
        = 7E8:49040141424344454647 7E9:49040151525354555657
    """,
    "one frame of a long answer is missing; the other ECU's is whole": FOUND
    + """
        ask 0902
        > 0902
        < 7E81014490201314D38\\r7E903490200\\r7E82250303432373838\\r\\r>
        = 7E9:490200
    """,
    "two ECUs without headers, interleaved": START
    + """
        ask 0904
        > 0904
        < 00A\\r00A\\r0:490401414243\\r0:490401515253\\r1:44454647\\r1:54555657\\r\\r>
        > ATDPN
        < A6\\r\\r>
        = ?:49040141424344454647 ?:49040151525354555657
    """,
    "an older bus splits a VIN its own way": START
    + """
        ask 0902
        > 0902
        < 486B10490201000000313D\\r486B104902024D38474494\\r486B104902034D394158D1\\r486B1049\
02044B503034B2\\r486B1049020532373838C0\\r\\r>
        > ATDPN
        < A3\\r\\r>
        = 10:490201314D3847444D3941584B50303432373838
    """,
    "an older bus fills trouble codes up with zeros": START
    + """
        ask 03
        > 03
        < 486B1043030104200171B0\\r486B1043C1210000000055\\r\\r>
        > ATDPN
        < A3\\r\\r>
        = 10:4304030104200171C121
    """,
    "headers vanish in a reset that went unnoticed": FOUND
    + """
        ask 010C
        > 010C
        < 41 0C 1A F8\\r\\r>
        = ?:410C1AF8
    """,
}
