"""The configuration file that `cpc init` writes: every key, its default, and what it is for.

Runs on CPython; pure.  A test proves that what `template` writes loads, and gives the defaults of
`gateway.config`.
"""

import re
from collections.abc import Sequence

_TEMPLATE = """\
# Configuration of a CPChain gateway (TOML, UTF-8).
#
# Every quantity is a whole number in the unit that its key ends in: _ms milliseconds, _kib and _mib
# 1,024 and 1,048,576 bytes, _ucpc millionths of a CPC. Paths are relative to the folder of this file.
# A key that is left out has the value shown here, except name and source of a stream, which must be
# there. `cpc` checks this file whenever it starts and names the line of whatever is wrong.

[gateway]
# How this gateway calls itself: 1 to 32 of a-z, 0-9, _ and -.
name = {name}
# The key that signs its anchors. Secret: who has this file can speak for this gateway. `cpc init` makes it.
key_file = "gateway.key"
# What it tells of itself: "debug", "info", "warning" or "error".
log_level = "info"

[spool]
# Where records wait until they are stored and anchored. Once here, a power cut loses none of them.
path = "spool"
# Room it may take. A chain that cannot be reached fills it; when it is full, ingest stops and says so.
size_max_mib = 1024
# Room it must leave on the disk for everything else.
disk_free_min_mib = 64

[store]
# Where sealed chunks are kept. They are encrypted: this folder may be copied anywhere.
path = "store"
# Chunks at least this large become files of their own; smaller ones lie in the index.
file_size_min_kib = 64

[chain]
# A node of the main chain. The gateway does not trust it: every answer is proven.
node_url = {node_url}
# Which chain: its name and first validators. `cpc node dev` writes one for a chain of your own.
genesis = {genesis}
# What an anchor may cost, in millionths of a CPC. 0: use the free quota first, then the chain's minimum.
fee_ucpc = 0
# How often the node is asked whether an anchor is final.
poll_ms = 500
# How long the node may take for one answer.
timeout_ms = 10000

[uplink]
# A broker (MQTT) that what the gateway takes in is sent to, beside being sealed: "mqtts://broker.example",
# or mqtt:// without TLS. Empty: none. Records wait in an outbox on the disk until the broker has them.
url = ""
# Of MQTT: "5" or "3.1.1". Another one is never tried, and neither is a link without TLS.
version = "5"
# How the gateway calls itself there. Empty: "cpc-", its name, and part of its key.
client_id = ""
# How it logs in, if the broker wants that.
username = ""
# File with the password on its first line, of mode 0600.
password_file = ""
# TLS: who may have signed the broker's certificate. Empty: whom the system trusts.
ca_file = ""
# TLS: the gateway's own certificate, where the broker wants one.
cert_file = ""
# TLS: its key, of mode 0600.
key_file = ""
# TLS: oldest version, "1.2" or "1.3".
tls_min = "1.2"
# Where records go: {{gateway}}, {{stream}} and {{kind}} are filled in.
topic = "cpc/{{gateway}}/{{stream}}"
# Where it is told, retained, that the gateway is there, or has gone.
state_topic = "cpc/{{gateway}}/state"
# "json" or "cbor".
format = "json"
# CAN frames "raw", or "decoded" with the stream's DBC files.
frames = "raw"
# When the broker is away for so long that a stream's part of the outbox is full: "block" lets the source
# wait, "drop-oldest" and "drop-newest" send less. All is sealed, and what is not sent is a gap record.
policy = "block"
# Room in the outbox for each stream.
stream_size_max_mib = 256
# Records in one message.
batch_records_max = 500
# How long records wait for others to leave with.
batch_ms = 1000
# A longer message is cut in two.
message_size_max_kib = 120
# Messages under way at once.
window = 64
# When one waits for longer for its acknowledgement, the link is made anew.
ack_timeout_ms = 20000
# How often a silent link is tried.
keepalive_ms = 30000

[remote]
# Who may command this gateway through the uplink's broker: ["did:key:z6Mk.."]. Empty: nobody.
operators = []
# Where commands come from.
command_topic = "cpc/{{gateway}}/command"
# Where answers go.
reply_topic = "cpc/{{gateway}}/reply"
# Whether they may also replace this file. A bad one is refused, and the one before kept beside it.
may_configure = true
# The stream that tells of every command. It is there when somebody may command.
audit_stream = "audit"

# One [[stream]] for each source of records; add as many as you have.
[[stream]]
# Part of the name of every record, for ever: 1 to 32 of a-z, 0-9, _ and -, and different for each stream.
name = {stream}
# Where records come from:
#   "can:can0"  "can:can0?fd=1"    a CAN bus of Linux; queue=20000: frames that may wait, the rest are gaps
#   "can+udp:239.74.163.2"         CAN over UDP multicast
#   "replay:trip.trc?speed=1"      a trace file; speed=max: as fast as it goes
#   "mqtt://host/topic/#"          messages of a broker; mqtts: with TLS; username=.., password_file=..
#   "sim:car"                      a simulated car, for a first try
source = {source}
# When records come faster than they can be stored, and the source's queue (queue=.. in its string) is full:
# "drop-newest" or "drop-oldest", and a gap record counts what went, or "block", and the source waits, which
# MQTT can (but at qos=0), and files always do. Empty: MQTT and files wait, all others drop the newest.
overrun = ""
# What the frames mean: DBC files, for `cpc tail`, `cpc export` and whoever reads. Records stay raw.
dbc = {dbc}
# T: records of this long form one block, compressed and chained to the block before.
block_ms = 1000
# e: this many blocks are sealed with one key. Grants are whole segments: here 5 seconds. T times e must
# be at least 1000 ms: a stream's keys then last until 2044, at 5000 ms until 2180.
segment_blocks = 5
# u: this many segments are anchored by one transaction: here, one a minute.
upload_segments = 12
# Its loss policy for the uplink, or "off": it is not sent. Empty: as [uplink] says.
uplink = ""
"""


def template(
    *,
    name: str = "gateway",
    node_url: str = "http://127.0.0.1:7545",
    genesis: str = "genesis.cbor",
    stream: str = "can0",
    source: str = "sim:car",
    dbc: Sequence[str] = (),
) -> str:
    """A commented configuration with one stream.  It checks no value: `gateway.config.parse` does."""
    return _TEMPLATE.format(
        name=_quoted(name),
        node_url=_quoted(node_url),
        genesis=_quoted(genesis),
        stream=_quoted(stream),
        source=_quoted(source),
        dbc="[" + ", ".join(map(_quoted, dbc)) + "]",
    )


def _quoted(text: str) -> str:
    """`text` as a TOML basic string."""
    return '"' + re.sub(r'[\x00-\x1f"\\\x7f]', lambda match: f"\\u{ord(match[0]):04x}", text) + '"'
