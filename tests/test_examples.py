"""Every example runs, and prints what its text promises."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent / "examples"
PROMISED = {
    "decode_a_trace.py": "x Engine",
    "follow_the_chain.py": "Bob holds 2000000 ucpc, proven against block",
    "park_a_car.py": "the session was settled at 1200000 ucpc, proven",
    "read_a_gps.py": "48.123007 11.516673 at 12.9 m/s",
    "share_a_range.py": "slot 18280: driving",
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("[a-z]*.py")))
def test_an_example_prints_what_it_promises(name: str) -> None:
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=EXAMPLES.parent.parent,
    )
    assert result.returncode == 0, result.stderr
    assert PROMISED[name] in result.stdout
