"""Stories of an adapter, told as text: what happens, and what must follow, in order.

    > text        the client writes it
    < text        the adapter prints it (\\r, \\x00 as in Python), all at once
    ask 010C [x1] the client is asked to ask; x1: one frame is expected
    wait 2000     so many ms pass
    = ready       the adapter can be used
    = 7E8:410C1AF8 7E9:..     a query is over, with these answers
    = no data: NO DATA        a query is over with a problem
    = down        the client gives up

`play` runs the lines that come from outside and writes down all that follows; a story holds when that is
the story itself.
"""

from obd.action import Action
from obd.elm327 import Down, Elm327, Ready, Write
from obd.query import Done, ecu_name, query

START = """
> ATE0
< OK\\r\\r>
> ATZ
< \\r\\rELM327 v1.5\\r\\r>
> ATE0
< ATE0\\rOK\\r\\r>
> ATL0
< OK\\r\\r>
> ATS0
< OK\\r\\r>
> ATH1
< OK\\r\\r>
> ATAT1
< OK\\r\\r>
> ATSP0
< OK\\r\\r>
> ATI
< ELM327 v1.5\\r\\r>
> ATRV
< 12.6V\\r\\r>
= ready
"""
"""How every adapter is started."""
FOUND = (
    START
    + """
ask 0100
> 0100
< SEARCHING...\\r7E8064100BE3FA813\\r\\r>
> ATDPN
< A6\\r\\r>
= 7E8:4100BE3FA813
"""
)
"""Started, and the car found."""


def lines_of(story: str) -> list[str]:
    """The lines of a story, without what is empty."""
    return [line.strip() for line in story.splitlines() if line.strip()]


class Player:
    """An adapter's client under a clock of its own."""

    def __init__(self) -> None:
        self.elm = Elm327()
        self.now_ms = 0
        self.trace: list[str] = []

    def do(self, actions: list[Action]) -> None:
        """Writes down what follows."""
        for action in actions:
            if isinstance(action, Write):
                self.trace.append("> " + action.data.decode().rstrip("\r"))
                assert action.data.endswith(b"\r")
            elif isinstance(action, Ready):
                self.trace.append("= ready")
            elif isinstance(action, Down):
                self.trace.append("= down")
            elif isinstance(action, Done):
                problem, answers, detail = action.outcome
                words = [f"{ecu_name(answer.ecu)}:{answer.data.hex().upper()}" for answer in answers]
                if problem:
                    words.append(f"{problem}: {detail}" if detail else problem)
                self.trace.append("= " + " ".join(words))

    def play(self, story: str) -> list[str]:
        """What the story comes to."""
        if not self.trace:
            self.do(self.elm.start(self.now_ms))
        for line in lines_of(story):
            kind, _, rest = line.partition(" ")
            if kind in (">", "="):
                continue
            self.trace.append(line)
            if kind == "<":
                data = rest.encode().decode("unicode_escape").encode("latin-1")
                self.do(self.elm.receive(data, self.now_ms))
            elif kind == "ask":
                digits, _, count = rest.partition(" x")
                self.do(self.elm.ask(query(bytes.fromhex(digits), None, 0, int(count or 0)), self.now_ms))
            elif kind == "wait":
                # The clock stops at each deadline on the way, as it does for a real caller.
                end_ms = self.now_ms + int(rest)
                while self.elm.deadline_ms is not None and self.elm.deadline_ms <= end_ms:
                    self.now_ms = max(self.now_ms, self.elm.deadline_ms)
                    self.do(self.elm.tick(self.now_ms))
                self.now_ms = end_ms
            else:
                raise AssertionError(f"what is {line!r}?")
        return self.trace
