"""Lets go of code that is needed seldom, so that a board has its memory for what is needed always.

Runs on CPython and MicroPython.  Only MicroPython forgets modules: there the code of one lies in the heap.
"""

import gc
import sys

# MicroPython has no `*` in a tuple.
BOOT = (
    "puf.attempts",
    "puf.bch",
    "puf.debias",
    "puf.fuzzy_extractor",
    "puf.helper_data",
    "puf.helper_signature",
    "puf.cose",
    "puf.ed25519",
    "puf.ed25519_pure",
    "puf.sha512",
    "puf.curve25519",
    "puf.puf_esp32",
    "puf.puf_source",
    "devices.micropython.provision",
)
"""What finds the root after power-on."""
MEETING = (
    "puf.edhoc",
    "puf.edhoc_credential",
    "puf.edhoc_keys",
    "puf.edhoc_messages",
    "puf.x25519",
    "puf.x25519_pure",
    "puf.curve25519",
)
"""What a first meeting needs."""


def forget(names: "tuple[str, ...]") -> None:
    """Unloads these modules, as far as they are loaded; who still holds something of one keeps that alive."""
    if sys.implementation.name == "micropython":
        for name in names:
            if sys.modules.pop(name, None) is not None:
                package, _, short = name.rpartition(".")
                parent = sys.modules.get(package)
                if parent is not None and hasattr(parent, short):
                    delattr(parent, short)
    gc.collect()
