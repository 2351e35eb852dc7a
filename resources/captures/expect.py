"""Says what a capture must count, from a reading of the packets of its own.

    expect.py FILE.pcap > FILE.expected.json

Written independently of the BPF programs: it decodes with plain slices and
knows only their documented rules. `tshark` is asked for the packet and byte
counts, so that not even the file reader is shared."""

import json
import socket
import struct
import subprocess
import sys
from collections import Counter

CLOSED = {23, 445, 1900, 8081}


def packets(path):
    blob = open(path, "rb").read()
    order = "<" if blob[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    at = 24
    while at < len(blob):
        kept = struct.unpack(order + "I", blob[at + 8 : at + 12])[0]
        yield blob[at + 16 : at + 16 + kept]
        at += 16 + kept


def half(p, at):
    return int.from_bytes(p[at : at + 2], "big")


def network(p):
    """(type, position) behind at most two tags, or None."""
    if len(p) < 14:
        return None
    kind, at = half(p, 12), 14
    for _ in range(2):
        if kind not in (0x8100, 0x88A8):
            break
        if len(p) < at + 4:
            return None
        kind, at = half(p, at + 2), at + 4
    return kind, at


def ports_of(p, at):
    return (half(p, at), half(p, at + 2)) if len(p) >= at + 4 else None


def firewall(p, rules):
    def judge(proto, at):
        if proto not in (6, 17):
            return "passed"
        ports = ports_of(p, at)
        if ports is None:
            return "malformed"
        if ports[1] not in CLOSED:
            return "passed"
        rules[f"{proto}/{ports[1]}"] += 1
        return "rule"

    found = network(p)
    if found is None:
        return "malformed"
    kind, at = found
    if kind == 0x0800:
        if len(p) < at + 20 or p[at] >> 4 != 4:
            return "malformed"
        header = (p[at] & 15) * 4
        if header < 20 or at + half(p, at + 2) > len(p):
            return "malformed"
        if half(p, at + 6) & 0x3FFF:
            return "fragment"
        return judge(p[at + 9], at + header)
    if kind == 0x86DD:
        if len(p) < at + 40:
            return "malformed"
        return "fragment" if p[at + 6] == 44 else judge(p[at + 6], at + 40)
    return "passed"


def flow(p):
    found = network(p)
    if found is None:
        return None
    kind, at = found
    if kind == 0x0800 and len(p) >= at + 20:
        proto, ends = p[at + 9], (p[at + 12 : at + 16], p[at + 16 : at + 20])
        ports = ports_of(p, at + (p[at] & 15) * 4) if not half(p, at + 6) & 0x1FFF else None
        family = socket.AF_INET
    elif kind == 0x86DD and len(p) >= at + 40:
        proto, ends = p[at + 6], (p[at + 8 : at + 24], p[at + 24 : at + 40])
        ports, family = ports_of(p, at + 40), socket.AF_INET6
    else:
        return None
    if proto not in (6, 17) or ports is None:
        ports = (0, 0)
    src, dst = (socket.inet_ntop(family, e) for e in ends)
    return f"{src} {ports[0]} > {dst} {ports[1]} proto {proto}"


def dns(p):
    """Bytes that the socket filter keeps, and the direction."""
    if len(p) < 34 or half(p, 12) != 0x0800 or p[23] != 17:
        return 0, None
    header = (p[14] & 15) * 4
    ports = ports_of(p, 14 + header)
    if ports is None or 53 not in ports:
        return 0, None
    return 14 + header + 8, "query" if ports[1] == 53 else "answer"


def tshark_totals(path):
    lens = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", "-e", "frame.cap_len"], capture_output=True, text=True, check=True
    ).stdout.split()
    return len(lens), sum(map(int, lens))


def main(path):
    every = list(packets(path))
    count, size = tshark_totals(path)
    assert (count, size) == (len(every), sum(map(len, every)))
    rules, reasons, flows, sizes, dirs = Counter(), Counter(), Counter(), Counter(), Counter()
    kept = Counter()
    for p in every:
        reasons[firewall(p, rules)] += 1
        name = flow(p)
        flows[name or "other"] += 1
        sizes[name or "other"] += len(p)
        n, direction = dns(p)
        kept[n] += 1
        if direction:
            dirs[direction] += 1
    json.dump(
        {
            "packets": count,
            "bytes": size,
            "firewall": {"reasons": reasons, "rules": rules},
            "flows": {k: [n, sizes[k]] for k, n in sorted(flows.items())},
            "dns": {"kept": {str(k): n for k, n in sorted(kept.items())}, "directions": dirs},
        },
        sys.stdout,
        indent=1,
        sort_keys=True,
    )
    print()


if __name__ == "__main__":
    main(sys.argv[1])
