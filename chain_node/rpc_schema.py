"""JSON schemas of what the JSON-RPC takes and gives, and how they are put together.

Runs on CPython; pure.  Source: JSON Schema, draft 2020-12.
"""

from chain_node.block import BLOCK_TX_LIMIT
from chain_node.fields import INT_MAX
from chain_node.rpc_format import STATE_KEY_SIZE_MAX, TEXT_SIZE_MAX
from chain_node.transaction import SUPPLY_UCPC

Schema = dict[str, object]


def whole(low: int = 0, high: int = INT_MAX, what: str = "") -> Schema:
    """A whole number in these bounds."""
    return _described({"type": "integer", "minimum": low, "maximum": high}, what)


def blob(size: int, what: str = "") -> Schema:
    """Lower-case hex of exactly so many bytes."""
    return _described({"type": "string", "pattern": f"^[0-9a-f]{{{2 * size}}}$"}, what)


def blob_up_to(size_max: int, what: str = "") -> Schema:
    """Lower-case hex of at most so many bytes."""
    return _described({"type": "string", "pattern": "^([0-9a-f]{2})*$", "maxLength": 2 * size_max}, what)


def text(what: str = "", *options: str) -> Schema:
    """A text, one of `options` if there are any."""
    return _described({"type": "string"} | ({"enum": list(options)} if options else {}), what)


def flag(what: str = "") -> Schema:
    """true or false."""
    return _described({"type": "boolean"}, what)


def items(of: Schema, what: str = "") -> Schema:
    """A list."""
    return _described({"type": "array", "items": of}, what)


def or_null(schema: Schema) -> Schema:
    """That, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def shape(fields: Schema, optional: tuple[str, ...] = ()) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": fields,
        "required": [name for name in fields if name not in optional],
        "additionalProperties": False,
    }


def one_of(*shapes: Schema) -> Schema:
    """An object of one of these shapes."""
    return {"oneOf": list(shapes)}


def _described(schema: Schema, what: str) -> Schema:
    return schema | {"description": what} if what else schema


HASH = blob(32)
KEY = blob(32, "an Ed25519 public key: an account")
HEX = blob_up_to(1 << 24)
HEIGHT = whole(what="of a block; the genesis is 0")
INDEX = whole(0, BLOCK_TX_LIMIT, "place in the block")
UCPC = whole(0, SUPPLY_UCPC, "micro-CPC")
TIME_MS = whole(what="Unix milliseconds")
COUNT = whole()
TEXT = text()
DID = {"type": "string", "pattern": "^did:cpc:z[1-9A-HJ-NP-Za-km-z]{32,48}$", "maxLength": TEXT_SIZE_MAX}
STATE_KEY = blob_up_to(STATE_KEY_SIZE_MAX, "deterministic CBOR of a state's key")
LINK: Schema = {"height": HEIGHT, "header": HEX, "certificate": HEX}
PROVEN: Schema = LINK | {"proof": HEX}
