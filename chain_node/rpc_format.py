"""What both ends of the JSON-RPC agree on: error codes, limits, and hex.

Runs on CPython.  Source: jsonrpc.org/specification, section 5.1, for the codes down to -32700.
"""

import re

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REFUSED = -32000
"""The transaction was refused; `data.reason` is the label of its Reason."""
NOT_READY = -32001
"""There is no block yet."""
RATE_LIMITED = -32005
"""Who asks has asked too much; `data.retry_after_ms` says when to come again."""
TOO_SLOW = -32006
"""A subscriber did not read what it had subscribed to."""

BODY_SIZE_MAX = 1 << 20
"""Bytes of a request."""
BATCH_MAX = 16
HEADERS_MAX = 500
HANDOVERS_MAX = 50
PAGE_BLOCKS_MAX = 100
"""Blocks in a page, and transactions of a block in one, of what is for show."""
STATE_KEY_SIZE_MAX = 256
TEXT_SIZE_MAX = 128
"""Characters of a text among the params."""
ID_SIZE_MAX = 128

HEX = re.compile(r"(?:[0-9a-f]{2})*", re.ASCII)


def from_hex(value: object, size_max: int, size: int | None = None) -> bytes | None:
    """The bytes whose lower-case hex `value` is, exactly `size` or at most `size_max` of them; else None."""
    if not isinstance(value, str) or len(value) > 2 * size_max or not HEX.fullmatch(value):
        return None
    if size is not None and len(value) != 2 * size:
        return None
    return bytes.fromhex(value)
