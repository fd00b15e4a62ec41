"""What can be wrong with a key, a signature, a proof or the bytes that carry them.

Runs on CPython and MicroPython.  All of these mean that *what we were given* is wrong, never that
the caller is: a caller's own mistake (a negative length, a type that has no encoding) is a
ValueError or a TypeError.

    PufError
      +- DecodeError     bytes that are not the one right encoding of anything we accept
      +- KeyFormatError  a key, or the text of one, that no honest party can have made
      +- SignatureError  well-formed bytes whose signature does not hold
      +- ProofError      a hash-tree proof that does not lead to the root

No message ever carries a secret: keys in messages are public keys.
"""


class PufError(Exception):
    """The root of this tree; catch it to refuse whatever a peer may have sent."""


class DecodeError(PufError):
    """The bytes are not what they must be; whoever sent them is broken or hostile."""


class KeyFormatError(PufError):
    """A key has the wrong length, names no point, or names one of low order."""


class SignatureError(PufError):
    """The bytes are well formed, but this key did not sign them."""


class ProofError(PufError):
    """The proof does not lead from the leaf, or from the old root, to the root."""
