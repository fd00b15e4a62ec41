"""Who may use a device, as a user types it wrongly."""

import pytest

from gateway.cli import main
from gateway.cli_output import EXIT_USAGE


@pytest.mark.parametrize("holder", ["x", "did:key:z", "did:key:zzzzz", "did:cpc:z1"])
def test_a_holder_that_is_no_did_key_is_wrong_usage(holder: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["device", "grant", "lock1", "--holder", holder, "--action", "open", "--out", "lock1.pass"])
    assert left.value.code == EXIT_USAGE
    assert f"{holder!r} is no did:key" in capsys.readouterr().err
