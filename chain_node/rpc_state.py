"""What entries of the state look like in JSON: for people and explorers, beside the proof that counts.

Runs on CPython.  Keys and hashes are lower-case hex, amounts are ucpc, times are Unix milliseconds.
"""

from chain_node.did_ledger import DidEntry, DidVersion, did_key, did_version_key
from chain_node.entry import Account, Conduct
from chain_node.escrow import EscrowEntry
from chain_node.mandate import MandateEntry
from chain_node.state import State


def account_json(account: Account) -> dict[str, object]:
    """An account."""
    return {
        "balance_ucpc": account.balance_ucpc,
        "locked_ucpc": account.locked_ucpc,
        "nonce": account.nonce,
        "quota_day": account.quota_day,
        "quota_used": account.quota_used,
    }


def conduct_json(conduct: Conduct) -> dict[str, object]:
    """What a proposer or validator did against the rules."""
    return {
        "impeached_count": conduct.impeached_count,
        "equivocation_count": conduct.equivocation_count,
        "last_height": conduct.last_height,
    }


def escrow_json(entry: EscrowEntry | None) -> dict[str, object]:
    """An escrow; {"status": "unknown"} for none."""
    if entry is None:
        return {"status": "unknown"}
    return {
        "status": entry.status.name.lower(),
        "payee": entry.payee.hex(),
        "arbiter": entry.arbiter.hex() if entry.arbiter else None,
        "amount_ucpc": entry.amount_ucpc,
        "paid_ucpc": entry.paid_ucpc,
        "deadline_ms": entry.deadline_ms,
        "memo_hash": entry.memo_hash.hex(),
        "opened_height": entry.opened_height,
        "ended_height": entry.ended_height,
        "tx_hash": entry.tx_hash.hex(),
    }


def mandate_json(entry: MandateEntry | None, day: int) -> dict[str, object]:
    """A mandate, and what was spent on this UTC day; {"status": "unknown"} for none."""
    if entry is None:
        return {"status": "unknown"}
    return {
        "status": "revoked" if entry.is_revoked else "granted",
        "number": entry.number,
        "payment_max_ucpc": entry.payment_max_ucpc,
        "day_max_ucpc": entry.day_max_ucpc,
        "total_max_ucpc": entry.total_max_ucpc,
        "expires_ms": entry.expires_ms,
        "payees": [payee.hex() for payee in entry.payees],
        "day_spent_ucpc": entry.day_spent_on(day),
        "total_spent_ucpc": entry.total_spent_ucpc,
        "tx_hash": entry.tx_hash.hex(),
    }


def find_did(state: State, name: bytes, height: int | None) -> tuple[bytes, dict[str, object]]:
    """Under which key it stands which document the name had at a height (None: has now), and what it is.

    The JSON: `version` is a number when it is one that another has replaced, null when it is the present one;
    `resolution` is W3C's, null when there was no such name.
    """
    present = state.read(did_key(name), DidEntry)
    if present is None:
        return did_key(name), {"version": None, "resolution": None}
    if height is None or height >= present.since_height:
        return did_key(name), {"version": None, "resolution": present.resolve(name)}
    # The oldest version that ended after that height; versions follow each other without a hole.
    low, high = 1, present.version - 1
    while low < high:
        middle = (low + high) // 2
        if _past(state, name, middle).until_height > height:
            high = middle
        else:
            low = middle + 1
    if high == 0 or height < _past(state, name, low).since_height:
        key = did_version_key(name, 1) if high else did_key(name)
        return key, {"version": 1 if high else None, "resolution": None}
    found = _past(state, name, low)
    return did_version_key(name, low), {"version": low, "resolution": found.resolve(name, low)}


def _past(state: State, name: bytes, version: int) -> DidVersion:
    entry = state.read(did_version_key(name, version), DidVersion)
    assert entry, "a name keeps every version it had"  # noqa: S101 - only a bug gets here
    return entry
