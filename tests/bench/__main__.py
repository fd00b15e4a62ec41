"""`python -m tests.bench [NAME..] [--size tiny|full] [--json]`: runs benches and prints their rows.

Runs on CPython.  Exit status 1 when a bench computes something else than it should; never for a figure.
"""

import argparse
import json
import sys
from collections.abc import Callable

from tests.bench import (
    ble_adverts,
    chain,
    chain_storage,
    consensus,
    ingest,
    memory,
    mqtt,
    obd_query,
    proving,
    puf_failures,
    sealing,
    serial_lines,
    traces,
)
from tests.bench.measure import FULL, TINY, Row, table

BENCHES: dict[str, Callable[[str], list[Row]]] = {
    "can-ingest": ingest.bench_raw,
    "can-ingest-decoded": ingest.bench_decoded,
    "seal": sealing.bench_seal,
    "key-tree": sealing.bench_leaf,
    "proof": proving.bench_verify,
    "light-client": chain.bench_light_client,
    "ledger": chain.bench_ledger,
    "consensus-core": consensus.bench_core,
    "consensus-sim": consensus.bench_hours,
    "consensus-delays": consensus.bench_delays,
    "chain-storage": chain_storage.bench_bytes,
    "chain-check": chain_storage.bench_check,
    "chain-join": chain_storage.bench_join,
    "trace": traces.bench_trace,
    "dbc-decode": traces.bench_dbc,
    "serial": serial_lines.bench_lines,
    "ble-advert": ble_adverts.bench_adverts,
    "obd-query": obd_query.bench_query,
    "mqtt-both-ways": mqtt.bench_mqtt,
    "memory": memory.bench_memory,
    "puf-failures": puf_failures.bench_failures,
}


def main() -> int:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHES)}; all if none")
    parser.add_argument("--size", choices=(TINY, FULL), default=FULL)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    args = parser.parse_args()
    if unknown := set(args.names) - set(BENCHES):
        parser.error(f"no such bench: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    rows = []
    for name in args.names or BENCHES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += BENCHES[name](args.size)
    print(json.dumps([row.as_json() for row in rows], indent=2) if args.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
