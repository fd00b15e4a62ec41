"""A call over JSON-RPC: who makes it and what that may cost, its params, and the error that it may end in.

Runs on CPython; knows no sockets.
"""

from collections.abc import Callable, Mapping

from chain_node.reason import Reason
from chain_node.rpc_format import INVALID_PARAMS, RATE_LIMITED, REFUSED, TEXT_SIZE_MAX, from_hex
from puf.did import parse_did_cpc
from puf.errors import DecodeError


class RpcError(Exception):
    """What a request is answered with when it cannot be answered."""

    def __init__(self, code: int, message: str, reason: str, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.retry_after_ms = code, reason, retry_after_ms

    def to_json(self) -> dict[str, object]:
        """The error object."""
        data: dict[str, object] = {"reason": self.reason}
        if self.retry_after_ms is not None:
            data["retry_after_ms"] = self.retry_after_ms
        return {"code": self.code, "message": str(self), "data": data}


class Caller:
    """Who asks: what it may ask beside everybody's methods, and how much.

    take: takes tokens, or says how many milliseconds to wait for them.
    owe: holds so many refused requests against it; how many milliseconds it is to be left alone for them.
    busy_ms: how many milliseconds its transactions are not taken; 0: they are.
    """

    def __init__(
        self,
        take: Callable[[int], int] = lambda tokens: 0,
        methods: "Mapping[str, Callable[[Params], dict[str, object]]] | None" = None,
        *,
        owe: Callable[[int], int] = lambda count: 0,
        busy_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self.methods = methods or {}
        self.retry_after_ms: int | None = None
        """How long to wait, once something was refused for lack of tokens."""
        self._take, self._owe, self._busy_ms = take, owe, busy_ms

    def pay(self, tokens: int) -> None:
        """Raises RpcError with RATE_LIMITED."""
        if wait_ms := self._owe(0) or self._take(tokens):
            self.retry_after_ms = wait_ms
            raise RpcError(RATE_LIMITED, f"too many requests; wait {wait_ms} ms", "rate_limited", wait_ms)

    def blame(self) -> None:
        """A request was refused for what it is.  After too many, all that follow are not even looked at."""
        self._owe(1)

    def check_open(self) -> None:
        """Raises RpcError with BUSY while its transactions are not taken."""
        if wait_ms := self._busy_ms():
            why = "this validator is flooded, and takes no transactions of strangers; ask a proposer, or wait"
            raise RpcError(REFUSED, why, Reason.BUSY.label, wait_ms)


class Params:
    """The named parameters of one call: each read takes one out, and `done` wants nothing left."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise RpcError(INVALID_PARAMS, "params must be an object with names", "params")
        self._left = dict(value)

    def blob(self, name: str, size_max: int, size: int | None = None) -> bytes:
        """Bytes in hex: exactly `size`, or at most `size_max`."""
        data = from_hex(self._take(name), size_max, size)
        if data is None:
            length = f"at most {size_max}" if size is None else str(size)
            raise RpcError(INVALID_PARAMS, f"{name} must be lower-case hex of {length} bytes", "params")
        return data

    def integer(self, name: str, low: int, high: int) -> int:
        """An int from `low` to `high`."""
        value = self._take(name)
        if type(value) is not int or not low <= value <= high:
            raise RpcError(INVALID_PARAMS, f"{name} must be a whole number from {low} to {high}", "params")
        return value

    def text(self, name: str, options: tuple[str, ...] = ()) -> str:
        """A text of at most TEXT_SIZE_MAX characters, one of `options` if there are any."""
        value = self._take(name)
        if not isinstance(value, str) or len(value) > TEXT_SIZE_MAX:
            raise RpcError(INVALID_PARAMS, f"{name} must be a text", "params")
        if options and value not in options:
            raise RpcError(INVALID_PARAMS, f"{name} must be one of {', '.join(options)}", "params")
        return value

    def did_cpc(self, name: str) -> bytes:
        """The 32 bytes that a did:cpc names."""
        value = self._take(name)
        if not isinstance(value, str) or len(value) > TEXT_SIZE_MAX:
            raise RpcError(INVALID_PARAMS, f"{name} must be a text such as did:cpc:z...", "params")
        try:
            return parse_did_cpc(value)
        except DecodeError as error:
            raise RpcError(INVALID_PARAMS, f"{name} must be a did:cpc: {error}", "params") from None

    def has(self, name: str) -> bool:
        """Whether an optional parameter is there."""
        return name in self._left

    def done(self) -> None:
        """Every parameter has been read."""
        if self._left:
            names = ", ".join(sorted(name[:40] for name in self._left)[:4])
            raise RpcError(INVALID_PARAMS, f"unknown params: {names}", "params")

    def _take(self, name: str) -> object:
        if name not in self._left:
            raise RpcError(INVALID_PARAMS, f"{name} is missing", "params")
        return self._left.pop(name)
