"""Benches: ours against a peer, in the same process and the same minute, with a digest of what was computed.

Runs on CPython.  `python -m tests.bench` runs all of them, `python -m tests.bench can-ingest` one.
Figures are CPU time per item, median of rounds that alternate between ours and the peer, because these
machines are shared and noisy: the ratio is what counts.  Tests run every bench tiny and assert what it
computes, never how fast.
"""
