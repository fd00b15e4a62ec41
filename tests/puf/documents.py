"""What puf/did_document.py makes of documents, written so that a small heap has room for it.

Runs on CPython and MicroPython.  As a script it reads one document a line from stdin, in hex, and writes
what W3C's form of it holds, or why it is none.  A line that is no hex is a name.
"""

import gc
import sys

from puf import did, did_document
from puf.errors import PufError

SUBJECT = b"\x01" * 32


def write(value: object, out: object) -> None:
    """A value, piece by piece; map entries in one order."""
    if isinstance(value, dict):
        for key in sorted(value):
            out.write(key + "=")  # type: ignore[attr-defined]
            write(value[key], out)
    elif isinstance(value, list):
        for item in value:
            write(item, out)
    else:
        out.write(f"{value};")  # type: ignore[attr-defined]


def tell(line: str, out: object) -> None:
    """One line about one line."""
    try:
        if line.startswith("did:"):
            write(did.did_cpc(did.parse_did_cpc(line)), out)
        else:
            document = did_document.decode(bytes.fromhex(line))
            write(document.name().hex(), out)
            write(document.to_json(SUBJECT), out)
    except PufError as error:
        out.write(f"{type(error).__name__}: {error}")  # type: ignore[attr-defined]
    out.write("\n")  # type: ignore[attr-defined]


if __name__ == "__main__":
    for each in sys.stdin:
        gc.collect()
        tell(each.strip(), sys.stdout)
