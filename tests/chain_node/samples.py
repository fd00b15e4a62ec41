"""One good body of every kind of transaction, and one good entry of every kind of the state.

Runs on CPython.
"""

from chain_node.book import Entry
from chain_node.did_ledger import DidDeactivate, DidEntry, DidRegister, DidRotate, DidVersion
from chain_node.entry import Account, AnchorEntry, Conduct, EquivocationEntry, StreamEntry
from chain_node.escrow import EscrowEntry, EscrowOpen, EscrowRefund, EscrowSettle, EscrowStatus
from chain_node.mandate import MandateEntry, MandateGrant, MandatePay, MandateRevoke
from chain_node.transaction import Body, Equivocation, Transfer
from chain_node.validator_set import ValidatorsChange, ValidatorsEntry, ValidatorSet
from puf import did_document
from puf.did import ED25519, X25519
from puf.did_document import AGREEMENT, SIGNING, Key, Service
from tests.chain_node.world import anchor

ONE, TWO, SIX = b"\x01" * 32, b"\x02" * 32, b"\x06" * 32
DOCUMENT = did_document.make([Key(ED25519, SIGNING, ONE)])
OTHER_DOCUMENT = did_document.make(
    [Key(ED25519, SIGNING, TWO), Key(X25519, AGREEMENT, SIX)],
    controller=ONE,
    recovery=TWO,
    services=[Service("a", "b", "c:d")],
    salt=b"salt",
)
BODIES: tuple[Body, ...] = (
    Transfer(ONE, 5, b"memo"),
    anchor(),
    Equivocation(b"one", b"two"),
    DidRegister(DOCUMENT),
    DidRotate(ONE, 3, OTHER_DOCUMENT),
    DidDeactivate(ONE),
    EscrowOpen(ONE, TWO, 5, 6, SIX, ONE),
    EscrowSettle(ONE, TWO, 5, b"\x07" * 64),
    EscrowRefund(ONE, TWO),
    MandateGrant(ONE, 5, 6, 7, 8, (ONE, TWO)),
    MandatePay(ONE, TWO, 5, b"memo"),
    MandateRevoke(ONE),
    ValidatorsChange(1, 40, (ONE, TWO), ((0, b"\x07" * 64), (2, b"\x08" * 64))),
)
ENTRIES: tuple[Entry, ...] = (
    Account(5, 6, 7, 8, 9),
    AnchorEntry(3, ONE, TWO, ONE, TWO, 7),
    StreamEntry(5),
    Conduct(5, 6, 7),
    EquivocationEntry(5, 1, ONE, 7),
    DidEntry(OTHER_DOCUMENT, 2, 3, 4, 5, False, ONE),
    DidVersion(DOCUMENT, 5, 6, 7, TWO),
    EscrowEntry(ONE, 5, 6, TWO, SIX, EscrowStatus.SETTLED, 4, 8, 9, ONE),
    MandateEntry(1, 5, 6, 7, 8, (ONE, TWO), False, 9, 3, 4, TWO),
    ValidatorsEntry(ValidatorSet(2, 40, (ONE, TWO)), ValidatorSet(1, 20, (SIX,))),
    ValidatorSet(1, 20, (ONE, TWO)),
)
