"""Vectors of others, read where they lie; a test that wants them skips where they are absent."""

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "../shared/data/vectors"


def load(name: str) -> Any:
    """The content of ../shared/data/vectors/NAME.json."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no ../shared/data/vectors/{name}.json beside the repository")
    return json.loads(path.read_text())


def wycheproof(algorithm: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each test of a Wycheproof file, with the group that it belongs to."""
    groups = load(f"wycheproof_{algorithm}_test")["testGroups"]
    return [(group, test) for group in groups for test in group["tests"]]
