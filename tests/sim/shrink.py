"""Makes a failing simulation small: leaves out one kind of fault after another, and ends faults earlier.

Runs on CPython.
"""

from collections.abc import Callable

from tests.sim.plan import FAULTS, MODES, Plan, plan_of
from tests.sim.world import Result

HEIGHTS_TRIED = (2, 3, 4, 6, 8)


def shrink(failed: Result, run: Callable[[Plan], Result]) -> Result:
    """The smallest simulation found that fails in the same way."""
    assert failed.failure
    kind, smallest = failed.failure.kind, failed
    while True:
        before = smallest
        for name in MODES + FAULTS:
            without = smallest.plan.without
            if name not in without:
                result = run(plan_of(failed.plan.seed, (*without, name), smallest.plan.heights))
                if result.failure and result.failure.kind == kind:
                    smallest = result
        for heights in HEIGHTS_TRIED:
            if heights < smallest.plan.heights:
                result = run(plan_of(failed.plan.seed, smallest.plan.without, heights))
                if result.failure and result.failure.kind == kind:
                    smallest = result
                    break
        if smallest is before:
            return smallest
