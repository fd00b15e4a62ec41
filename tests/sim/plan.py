"""What happens in one simulation: all of it follows from the seed, and each kind of fault can be left out.

Runs on CPython.  Every kind of fault has its own stream of chance, so that leaving one out changes the
plan of no other.
"""

from dataclasses import dataclass, replace
from random import Random

from chain_node import quorum
from chain_node.lbft_states import timeout_ms

FAULTS = (
    "loss",
    "duplicates",
    "delays",
    "partitions",
    "crashes",
    "slow-disks",
    "full-disks",
    "drift",
    "jumps",
    "byzantine",
    "proposers",
    "clients",
    "observers",
)
"""What can be left out of a simulation, in the order in which a failure is shrunk."""
MODES = ("codec", "memo", "real")
"""Ways of running that are no faults: through the bytes of messages; execution once for all; Ed25519."""
HEIGHTS = 10
"""How many block periods the faults last, unless told otherwise."""

VALIDATOR_FAULTS = (
    "equivocate",
    "withhold",
    "replay",
    "forge",
    "reveal",
    "yes",
    "amnesia",
    "twins",
    "silent",
)
PROPOSER_FAULTS = ("silent", "late", "illicit", "two", "part")


@dataclass(frozen=True, slots=True)
class Plan:
    """One simulation."""

    seed: int
    heights: int
    """Block periods until the network heals."""
    validators: int
    proposers: int
    """Those who take turns; the first `shared` of them are validators."""
    shared: int
    observers: int
    clients: int
    period_ms: int
    timeout_ms: int
    heartbeat_ms: int
    delay_us: int
    """The shortest time that a message takes."""
    calm_us: int
    """The longest, once the network has healed."""
    chaos_us: int
    """The longest before that."""
    tail: int
    """How rare long delays are: 1 all alike, more: rarer."""
    loss: float
    duplicates: float
    partitions: int
    is_held: bool
    """Whether a partition holds messages back, in place of losing them."""
    crashes: float
    """How probable it is that a sync is the last one before the power goes."""
    slow_us: int
    """How long a sync may take."""
    full: int
    """How many disks fill up for a while."""
    skew_ms: int
    drift_ppm: int
    jumps: int
    byzantine: tuple[str, ...]
    """What the last validators do: one of VALIDATOR_FAULTS each."""
    bad_proposers: tuple[str, ...]
    """What the last proposers that are no validators do: one of PROPOSER_FAULTS each."""
    is_codec: bool
    is_memoised: bool
    is_real: bool
    without: tuple[str, ...] = ()
    is_changing: bool = False
    """Whether the validators change twice: a new one joins them, and then one of the first leaves."""

    def doublings(self, delay_count: int) -> int:
        """How often a timer must double to be long enough for so many delays after the network healed."""
        needed_us = delay_count * self.calm_us
        return next(count for count in range(32) if timeout_ms(self.timeout_ms, count) * 1_000 >= needed_us)

    @property
    def faulty_max(self) -> int:
        return quorum.fault_count_max(self.validators)

    @property
    def command(self) -> str:
        """What replays it."""
        parts = [f"make sim SEED={self.seed}"]
        if self.without:
            parts.append(f"WITHOUT={','.join(self.without)}")
        if self.heights != HEIGHTS:
            parts.append(f"HEIGHTS={self.heights}")
        return " ".join(parts)

    def describe(self) -> str:
        """In one line, for people."""
        parts = [f"{self.validators} validators", f"{self.proposers} proposers"]
        parts += [f"{count} {name}" for name in ("observers", "clients") if (count := getattr(self, name))]
        parts += [f"validator {kind}" for kind in self.byzantine]
        parts += [f"proposer {kind}" for kind in self.bad_proposers]
        parts += [
            f"{name} {value:g}"
            for name in ("loss", "duplicates", "crashes")
            if (value := getattr(self, name))
        ]
        parts += [
            f"{count} {name}" for name in ("partitions", "jumps", "full") if (count := getattr(self, name))
        ]
        parts.append(f"delays {self.delay_us / 1000:g}-{self.chaos_us / 1000:g} ms")
        parts.append(f"timeout {self.timeout_ms} ms")
        return ", ".join(parts)


def plan_of(seed: int, without: tuple[str, ...] = (), heights: int = HEIGHTS) -> Plan:
    """The simulation of a seed, less what is left out."""
    unknown = set(without) - set(FAULTS) - set(MODES)
    if unknown:
        raise ValueError(
            f"no such faults: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS + MODES)}"
        )

    def chance(name: str) -> Random:
        return Random(f"{seed} {name}")

    def has(name: str, probability: float) -> bool:
        return chance(f"has {name}").random() < probability and name not in without

    basic = chance("basic")
    validators = basic.choices((4, 1, 2, 5, 7), (30, 1, 1, 2, 2))[0]
    proposers = basic.randint(1, 3)
    shared = basic.choice((0, 0, min(proposers, validators)))
    timeout_ms = basic.choice((2_000, 4_000, 8_000))
    delay_us = basic.choice((1_000, 20_000, 100_000))
    # Some networks stay so slow that the first rounds are too short, and only growing timers help.
    calm_us = timeout_ms * basic.choice((50, 100, 200, 200, 1_500)) + delay_us
    delays = chance("delays")
    faulty = quorum.fault_count_max(validators)
    byzantine: tuple[str, ...] = ()
    if has("byzantine", 0.6) and faulty:
        byzantine = tuple(chance("kinds").choices(VALIDATOR_FAULTS, k=chance("count").randint(1, faulty)))
    bad: tuple[str, ...] = ()
    if has("proposers", 0.5) and not shared:
        bad = tuple(chance("bad").choices(PROPOSER_FAULTS, k=chance("bads").randint(1, proposers)))
    return Plan(
        seed=seed,
        heights=heights,
        validators=validators,
        proposers=proposers,
        shared=shared,
        observers=has("observers", 0.4) + 0,
        clients=0 if "clients" in without else basic.randint(1, 3),
        period_ms=10_000,
        timeout_ms=timeout_ms,
        heartbeat_ms=basic.choice((10_000, 10_000, 60_000)),
        delay_us=delay_us,
        calm_us=calm_us,
        chaos_us=calm_us
        if not has("delays", 0.7)
        else timeout_ms * delays.choice((500, 2_000, 8_000)) + delay_us,
        tail=delays.choice((1, 3, 6)),
        loss=chance("loss").choice((0.01, 0.05, 0.2, 0.4)) if has("loss", 0.5) else 0,
        duplicates=chance("duplicates").choice((0.02, 0.2)) if has("duplicates", 0.3) else 0,
        partitions=chance("partitions").randint(1, 6) if has("partitions", 0.6) else 0,
        is_held=chance("held").random() < 0.5,
        crashes=chance("crashes").choice((0.01, 0.03, 0.1)) if has("crashes", 0.5) else 0,
        slow_us=chance("slow").choice((20_000, 500_000)) if has("slow-disks", 0.3) else 0,
        full=chance("full").randint(1, 2) if has("full-disks", 0.15) else 0,
        skew_ms=chance("skew").choice((10, 500)) if has("drift", 0.6) else 0,
        drift_ppm=chance("drift").choice((50, 500)) if has("drift", 0.6) else 0,
        jumps=chance("jumps").randint(1, 3) if has("jumps", 0.2) else 0,
        byzantine=byzantine,
        bad_proposers=bad,
        is_codec=has("codec", 0.2),
        is_memoised=has("memo", 0.9),
        is_real=has("real", 0.02),
        without=without,
    )


def calm_plan(seed: int, **changes: object) -> Plan:
    """A simulation without faults but those in `changes`."""
    plan = plan_of(seed, FAULTS[: FAULTS.index("clients")] + MODES)
    base = replace(
        plan,
        validators=4,
        proposers=1,
        shared=0,
        observers=0,
        clients=1,
        heartbeat_ms=10_000,
        is_memoised=True,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # the fields' names are the callers' to know
