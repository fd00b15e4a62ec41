"""The payload of a usual transfer, read by the places at which everything must stand.

Runs on CPython; pure.  Nearly all transactions are transfers without a last height, and a node reads
thousands of them a second: taking maps apart costs more than all that is in them.  Whatever stands elsewhere
is no usual one, and is left to the reader of all kinds (transaction.py), which knows what is wrong with it.

    a5  01 58 20 [chain id]  02 [nonce]  03 [fee_ucpc]  05 01
        06 a3  01 58 20 [to]  02 [amount_ucpc]  03 [memo]
"""

from chain_node.book import MEMO_SIZE_MAX, SUPPLY_UCPC
from chain_node.fields import INT_MAX

_BEGIN, _BODY = b"\xa5\x01\x58\x20", b"\x05\x01\x06\xa3\x01\x58\x20"
_CHAIN_ID = len(_BEGIN)
_NONCE = _CHAIN_ID + 32


def read_transfer(payload: bytes) -> tuple[bytes, int, int, bytes, int, bytes] | None:
    """(chain id, nonce, fee_ucpc, to, amount_ucpc, memo), each in its bounds; None: it is none of these."""
    if payload[:_CHAIN_ID] != _BEGIN or payload[_NONCE : _NONCE + 1] != b"\x02":
        return None
    nonce, at = _number(payload, _NONCE + 1)
    if nonce < 0 or nonce > INT_MAX or payload[at : at + 1] != b"\x03":
        return None
    fee_ucpc, at = _number(payload, at + 1)
    to = at + len(_BODY)
    if fee_ucpc < 0 or fee_ucpc > SUPPLY_UCPC or payload[at:to] != _BODY:
        return None
    after = to + 32
    if payload[after : after + 1] != b"\x02":
        return None
    amount_ucpc, at = _number(payload, after + 1)
    if amount_ucpc < 1 or amount_ucpc > SUPPLY_UCPC or payload[at : at + 1] != b"\x03":
        return None
    size, begin = _number(payload, at + 1, 0x40)
    if size < 0 or size > MEMO_SIZE_MAX or begin + size != len(payload):
        return None
    return payload[_CHAIN_ID:_NONCE], nonce, fee_ucpc, payload[to:after], amount_ucpc, payload[begin:]


def _number(data: bytes, at: int, major: int = 0) -> tuple[int, int]:
    """(argument, where it ends) of an item's head; -1 when it is of another type, too short or too long.

    Source: RFC 8949, sections 3 and 4.2.1.
    """
    if at >= len(data):
        return -1, at
    first = data[at] - major
    at += 1
    if first < 24:
        # Below nothing is another type.
        return first, at
    if first > 27:
        return -1, at
    size = 1 << (first - 24)
    value = int.from_bytes(data[at : at + size], "big")
    # The least number that needs so many bytes.
    least = 24 if size == 1 else 1 << (4 * size)
    return (value if value >= least and at + size <= len(data) else -1), at + size
