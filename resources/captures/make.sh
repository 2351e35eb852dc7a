#!/usr/bin/env bash
# Makes mixed.pcap: real programs talking over a veth pair between two network
# namespaces of their own, plus some odd frames. Needs root and Debian's
# iproute2, iputils-ping, ethtool, tshark and python3. What it records differs
# from run to run (ports, times, sequence numbers); expect.py says what any
# recording must count.
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-mixed.pcap}
a=bpfv-a-$$
b=bpfv-b-$$
cleanup() {
	kill $(jobs -p) 2>/dev/null || true
	ip netns del "$a" 2>/dev/null || true
	ip netns del "$b" 2>/dev/null || true
}
trap cleanup EXIT

ip netns add "$a"
ip netns add "$b"
ip -n "$a" link add v0 address 02:00:00:00:00:0a type veth peer name v0 netns "$b" address 02:00:00:00:00:0b
for n in "$a 1" "$b 2"; do
	set -- $n
	ip netns exec "$1" ethtool -K v0 tx off rx off tso off gso off gro off >/dev/null
	ip -n "$1" link set lo up
	ip -n "$1" link set v0 up
	ip -n "$1" address add "192.0.2.$2/24" dev v0
	ip -n "$1" address add "2001:db8::$2/64" dev v0 nodad
	# A VLAN in software: what goes into u0 comes out of v0 with tag 100.
	ip -n "$1" link add u0 type veth peer name u1
	for u in u0 u1; do
		ip netns exec "$1" ethtool -K $u tx off rx off tso off gso off gro off >/dev/null
		ip -n "$1" link set $u mtu 1496 up
	done
	ip -n "$1" address add "198.51.100.$2/24" dev u0
	ip netns exec "$1" python3 traffic.py tag &
done

ip netns exec "$b" tshark -q -i v0 -F pcap -w "/tmp/$b.pcap" 2>/dev/null &
tshark=$!
sleep 2
ip netns exec "$b" python3 traffic.py serve &
sleep 1
ip netns exec "$a" python3 traffic.py talk
sleep 1
kill -INT "$tshark"
wait "$tshark" || true
cp "/tmp/$b.pcap" "$out"
rm -f "/tmp/$b.pcap"
python3 expect.py "$out" >"${out%.pcap}.expected.json"
