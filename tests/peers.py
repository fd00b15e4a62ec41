"""Foreign programs that tests and benches run beside ours, each in an environment of its own in build/peers.

    python -m tests.peers NAME ..      fetches them; all when none is named

Runs on CPython.  None is a dependency: some are GPL, some have packages called like our folders.  They come
from the package index that pip is set up for, in the versions given here, and what they need with them.
"""

import subprocess
import sys
from pathlib import Path

PEERS: dict[str, tuple[str, ...]] = {
    "amqtt": ("amqtt==0.12.1",),
    "ble-parsers": ("bthome-ble==3.25.0", "govee-ble==1.5.2", "ruuvitag-ble==0.4.0", "xiaomi-ble==1.21.2"),
    "bluezoo": ("bluezoo==1.0.2",),
    "elm327-emulator": ("ELM327-emulator==4.0.0",),
    "python-obd": ("obd==0.7.3",),
    "thingsboard-gateway": ("thingsboard-gateway==3.8.5",),
}
"""Packages of each."""
FOLDER = Path(__file__).resolve().parent.parent / "build" / "peers"
_DONE = ".installed"
"""What was installed, once all of it was."""


def program(name: str, command: str = "python") -> Path | None:
    """A command of the peer's environment; None where that has not been fetched, or is of another version."""
    done = FOLDER / name / _DONE
    if not done.exists() or done.read_text() != "\n".join(PEERS[name]):
        return None
    return FOLDER / name / "bin" / command


def missing(name: str, target: str) -> str:
    """What to say where a peer is not there: how to get it."""
    return f"{name} {PEERS[name][0].partition('==')[2]} is not in build/peers; fetch it with: make {target}"


def fetch(name: str) -> None:
    """Makes the peer's environment, unless it is there."""
    if program(name) is not None:
        return
    folder = FOLDER / name
    print(f"Fetching {', '.join(PEERS[name])} into build/peers/{name} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", *PEERS[name]], check=True)
    (folder / _DONE).write_text("\n".join(PEERS[name]))


def main(names: list[str]) -> int:
    """Fetches what is named."""
    if unknown := set(names) - set(PEERS):
        print(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}", file=sys.stderr)
        return 2
    for name in names or PEERS:
        try:
            fetch(name)
        except subprocess.CalledProcessError as error:
            print(f"{name} could not be fetched: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
