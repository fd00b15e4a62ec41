"""The payload of a usual transfer, read by the places at which everything must stand.

Runs on CPython; pure.  Nearly all transactions are transfers without a last height, and a node reads
thousands of them a second: taking maps apart costs more than all that is in them.  Whatever stands elsewhere
is no usual one, and is left to the reader of all kinds (transaction.py), which knows what is wrong with it.

    a5  01 58 20 [chain id]  02 [nonce]  03 [fee_ucpc]  05 01
        06 a3  01 58 20 [to]  02 [amount_ucpc]  03 [memo]
"""

from chain_node.book import MEMO_SIZE_MAX, SUPPLY_UCPC
from chain_node.fields import INT_MAX, argument_at

_BEGIN, _BODY = b"\xa5\x01\x58\x20", b"\x05\x01\x06\xa3\x01\x58\x20"
_CHAIN_ID = len(_BEGIN)
_NONCE = _CHAIN_ID + 32


def read_transfer(payload: bytes) -> tuple[bytes, int, int, bytes, int, bytes] | None:
    """(chain id, nonce, fee_ucpc, to, amount_ucpc, memo), each in its bounds; None: it is none of these."""
    if payload[:_CHAIN_ID] != _BEGIN or payload[_NONCE : _NONCE + 1] != b"\x02":
        return None
    nonce, at = argument_at(payload, _NONCE + 1)
    if nonce < 0 or nonce > INT_MAX or payload[at : at + 1] != b"\x03":
        return None
    fee_ucpc, at = argument_at(payload, at + 1)
    to = at + len(_BODY)
    if fee_ucpc < 0 or fee_ucpc > SUPPLY_UCPC or payload[at:to] != _BODY:
        return None
    after = to + 32
    if payload[after : after + 1] != b"\x02":
        return None
    amount_ucpc, at = argument_at(payload, after + 1)
    if amount_ucpc < 1 or amount_ucpc > SUPPLY_UCPC or payload[at : at + 1] != b"\x03":
        return None
    size, begin = argument_at(payload, at + 1, 0x40)
    if size < 0 or size > MEMO_SIZE_MAX or begin + size != len(payload):
        return None
    return payload[_CHAIN_ID:_NONCE], nonce, fee_ucpc, payload[to:after], amount_ucpc, payload[begin:]
