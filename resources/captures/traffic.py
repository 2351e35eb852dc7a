"""The two ends of the conversation that make.sh records.

serve: HTTP on 8080, a toy DNS server on 53. tag: moves frames between
u1 and v0, where they wear VLAN tag 100. talk: pings, requests, closed ports,
then frames that no sane sender would send."""

import http.server
import os
import socket
import struct
import subprocess
import sys
import threading
import urllib.request

SERVER4, SERVER6, SERVER_VLAN = "192.0.2.2", "2001:db8::2", "198.51.100.2"


class Dual(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"x" * int(self.path.strip("/") or 0)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def dns():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.bind(("::", 53))
    while True:
        query, peer = s.recvfrom(512)
        answer = query[:2] + b"\x81\x80" + query[4:6] + b"\0\1\0\0\0\0" + query[12:]
        answer += b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\x02"
        s.sendto(answer, peer)


def serve():
    threading.Thread(target=dns, daemon=True).start()
    Dual(("::", 8080), Page).serve_forever()


def tag():
    PACKET_AUXDATA, VLAN_VALID = 8, 0x10
    inner, outer = (socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in range(2))
    inner.bind(("u1", 3))
    outer.bind(("v0", 3))
    outer.setsockopt(263, PACKET_AUXDATA, 1)

    def outward():
        while True:
            frame, peer = inner.recvfrom(2048)
            if peer[2] != socket.PACKET_OUTGOING:
                outer.send(frame[:12] + b"\x81\0\0\x64" + frame[12:])

    threading.Thread(target=outward, daemon=True).start()
    while True:
        frame, aux, _, peer = outer.recvmsg(2048, 256)
        status, tci = struct.unpack_from("I12xH", aux[0][2]) if aux else (0, 0)
        if peer[2] != socket.PACKET_OUTGOING and status & VLAN_VALID and tci == 100:
            inner.send(frame)


def run(*command):
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def query(host, family, name):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(1)
    labels = b"".join(bytes([len(p)]) + p for p in name.encode().split(b"."))
    s.sendto(struct.pack(">HHHHHH", os.getpid() & 0xFFFF, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1", (host, 53))
    s.recv(512)


def knock(host, family, kind, port):
    s = socket.socket(family, kind)
    s.settimeout(0.3)
    try:
        if kind == socket.SOCK_STREAM:
            s.connect((host, port))
        else:
            s.sendto(b"M-SEARCH * HTTP/1.1\r\n\r\n", (host, port))
    except OSError:
        pass


def frames():
    macs = bytes.fromhex("02000000000b02000000000a")
    ip = lambda ihl, total, frag, proto: struct.pack(
        ">BBHHHBBH4s4s", 0x40 | ihl, 0, total, 7, frag, 64, proto, 0, b"\xc0\0\2\1", b"\xc0\0\2\2"
    )
    udp = lambda port, n: struct.pack(">HHHH", 4000, port, 8 + n, 0) + b"y" * n
    ip6 = lambda nxt, n: struct.pack(">IHBB", 0x60000000, n, nxt, 64) + socket.inet_pton(
        socket.AF_INET6, "2001:db8::1"
    ) + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    tag = lambda kind, vid, proto: struct.pack(">HHH", kind, vid, proto)
    t4, t6 = b"\x08\0", b"\x86\xdd"
    yield macs + t4  # no network header at all
    yield macs + t4 + ip(5, 20, 0, 17)[:11]  # IPv4 header cut off
    yield macs + t4 + ip(3, 28, 0, 17) + udp(9, 0)  # header length below 20
    yield macs + t4 + ip(5, 400, 0, 17) + udp(9, 4)  # longer on paper than in fact
    yield macs + t4 + ip(15, 60, 0, 6) + b"\1" * 36 + b"\x1f"  # options, then half a port
    yield macs + t4 + ip(6, 32, 0, 17) + b"\1\1\1\0" + udp(53, 0)  # with options
    yield macs + t4 + ip(5, 28, 0, 17) + udp(7, 0) + b"\0" * 18  # Ethernet padding
    yield macs + t4 + ip(5, 32, 0, 17) + udp(1900, 4) + b"\0" * 14
    yield macs + t4 + ip(5, 28, 0x2000, 17) + udp(7, 0)  # first fragment, alone
    yield macs + t4 + ip(5, 28, 0x0010, 17) + b"z" * 8  # later fragment, alone
    yield macs + t4 + ip(5, 28, 0x8000, 17) + udp(7, 0)  # reserved flag
    yield macs + t4 + ip(5, 20, 0, 47)  # GRE, empty
    yield macs + t6 + ip6(17, 8)[:39]  # IPv6 header cut off
    yield macs + t6 + ip6(6, 20)  # no TCP behind it
    yield macs + t6 + ip6(44, 16) + b"\x11\0\0\1\0\0\0\7" + udp(7, 0)  # fragment header
    yield macs + t6 + ip6(17, 12) + udp(445, 4)
    yield macs + t6 + ip6(59, 0)  # nothing follows
    yield macs + tag(0x8100, 5, 0x0800)  # tag, then nothing
    yield macs + b"\x81\0\0"  # half a tag
    yield macs + tag(0x88A8, 9, 0x8100) + tag(0, 10, 0x0800)[2:] + ip(5, 28, 0, 17) + udp(23, 0)  # two tags
    yield macs + tag(0x8100, 1, 0x8100) + tag(0, 2, 0x8100)[2:] + tag(0, 3, 0x0800)[2:] + ip(5, 20, 0, 1)  # three
    yield macs + b"\x88\xcc\2\7\4\2\0\0\0\0\x0a\4\1\x61\6\2\0\x78\0\0"  # LLDP
    yield macs + b"\0\x26\x42\x42\3" + b"\0" * 35  # 802.3 length field
    yield macs + b"\xff\xff" + bytes(range(256)) * 5 + b"end"  # unknown type, long


def talk():
    run("ping", "-c", "8", "-i", "0.02", SERVER4)
    run("ping", "-c", "8", "-i", "0.02", SERVER6)
    run("ping", "-c", "3", "-i", "0.02", "-s", "3000", SERVER4)
    run("ping", "-c", "3", "-i", "0.02", "-s", "3000", SERVER6)
    run("ping", "-c", "5", "-i", "0.02", SERVER_VLAN)
    for host in (SERVER4, f"[{SERVER6}]", SERVER_VLAN):
        for size in (0, 100, 20000):
            urllib.request.urlopen(f"http://{host}:8080/{size}").read()
    for name in ("a.example", "mail.example", "a.very.long.name.under.example"):
        query(SERVER4, socket.AF_INET, name)
        query(SERVER6, socket.AF_INET6, name)
    query(SERVER_VLAN, socket.AF_INET, "vlan.example")
    for port in (23, 445, 8081, 22, 23):
        knock(SERVER4, socket.AF_INET, socket.SOCK_STREAM, port)
        knock(SERVER6, socket.AF_INET6, socket.SOCK_STREAM, port)
    for _ in range(3):
        knock(SERVER4, socket.AF_INET, socket.SOCK_DGRAM, 1900)
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind(("v0", 0))
    for frame in frames():
        raw.send(frame)


if __name__ == "__main__":
    {"serve": serve, "tag": tag, "talk": talk}[sys.argv[1]]()
