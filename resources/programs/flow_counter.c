/* Counts packets and bytes per flow (addresses, ports, protocol) for IPv4 and
 * IPv6, in a hash map; what has no place in it is counted apart. */
#include "packet.h"

struct flow {
	__u8 src[16];
	__u8 dst[16];
	__be16 src_port;
	__be16 dst_port;
	__u8 proto;
	__u8 version;
	__u16 pad;
};

struct counters {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow);
	__type(value, struct counters);
} flows SEC(".maps");

__u64 other_packets;
__u64 lost_flows;

static __noinline void count(struct flow *flow, __u64 bytes)
{
	struct counters *seen;
	struct counters fresh = { .packets = 1, .bytes = bytes };

	if (!flow)
		return;
	seen = bpf_map_lookup_elem(&flows, flow);
	if (seen) {
		__sync_fetch_and_add(&seen->packets, 1);
		__sync_fetch_and_add(&seen->bytes, bytes);
	} else if (bpf_map_update_elem(&flows, flow, &fresh, BPF_NOEXIST)) {
		lost_flows++;
	}
}

static __always_inline void add_ports(struct flow *flow, void *pos, void *end)
{
	struct ports *ports = pos;

	if (flow->proto != PROTO_TCP && flow->proto != PROTO_UDP)
		return;
	if ((void *)(ports + 1) > end)
		return;
	flow->src_port = ports->src;
	flow->dst_port = ports->dst;
}

static __always_inline int read_ipv4(struct flow *flow, void *pos, void *end)
{
	struct ipv4 *ip = pos;

	if ((void *)(ip + 1) > end)
		return 0;
	flow->version = 4;
	flow->proto = ip->proto;
	__builtin_memcpy(flow->src, &ip->src, 4);
	__builtin_memcpy(flow->dst, &ip->dst, 4);
	/* Only the first fragment has ports. */
	if (!(ip->frag & bpf_htons(0x1fff)))
		add_ports(flow, pos + (ip->version_ihl & 0xf) * 4, end);
	return 1;
}

static __always_inline int read_ipv6(struct flow *flow, void *pos, void *end)
{
	struct ipv6 *ip = pos;

	if ((void *)(ip + 1) > end)
		return 0;
	flow->version = 6;
	flow->proto = ip->next;
	__builtin_memcpy(flow->src, ip->src, 16);
	__builtin_memcpy(flow->dst, ip->dst, 16);
	add_ports(flow, ip + 1, end);
	return 1;
}

SEC("xdp")
int flow_counter(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct flow flow = {};
	__u16 proto = 0;
	void *pos = network_header(data, end, &proto);
	int known = 0;

	if (pos && proto == ETH_P_IP)
		known = read_ipv4(&flow, pos, end);
	else if (pos && proto == ETH_P_IPV6)
		known = read_ipv6(&flow, pos, end);
	if (known)
		count(&flow, end - data);
	else
		other_packets++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
