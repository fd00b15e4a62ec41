"""What AES-CCM makes of each case on stdin, one line each.

Runs on CPython and MicroPython.  A case is key|nonce|aad|sealed|tag size, in hex but for the last; what comes
out is the plaintext and its being sealed again, or the error.
"""

import gc
import sys

from puf import aes_ccm
from puf.errors import DecryptError


def outcome(line: str) -> str:
    """The plaintext in hex, or the name of the error."""
    words = line.rstrip("\n").split("|")
    key, nonce, aad, sealed = [bytes.fromhex(word) for word in words[:4]]
    try:
        plaintext = aes_ccm.open_(key, nonce, sealed, aad, int(words[4]))
        if aes_ccm.seal(key, nonce, plaintext, aad, int(words[4])) != sealed:
            raise AssertionError("what was opened seals to something else")
        return "plaintext:" + plaintext.hex()
    except (DecryptError, ValueError) as error:
        return type(error).__name__


if __name__ == "__main__":
    for line in sys.stdin:
        gc.collect()
        print(outcome(line))
