/* A packet filter. Rules are entries of a hash map, keyed by protocol and
 * destination port; ports that are closed by configuration get their rule when
 * the first packet comes for them. Malformed packets and fragments are dropped. */
#include "packet.h"

enum reason {
	PASSED,
	MALFORMED,
	FRAGMENT,
	RULE,
	NOT_IP,
	REASONS,
};

enum action {
	ALLOW = 1,
	DENY = 2,
};

struct rule_key {
	__u8 proto;
	__u8 pad;
	__be16 port;
};

struct rule {
	__u32 action;
	__u32 pad;
	__u64 hits;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct rule_key);
	__type(value, struct rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} reasons SEC(".maps");

/* Closed ports, host order: telnet, SMB, SSDP, an alternative HTTP port. */
const volatile __u16 closed_ports[4] = { 23, 445, 1900, 8081 };
/* Whether what is neither IPv4, IPv6 nor ARP passes. */
const volatile __u8 allow_non_ip = 1;

__u64 bytes_seen;
__u64 bytes_dropped;
__u32 longest_packet = 60;

static __noinline int closed(__u16 port)
{
	for (int i = 0; i < 4; i++)
		if (closed_ports[i] == port)
			return 1;
	return 0;
}

/* The verdict of the rules on one destination port. */
static __noinline int judge(__u8 proto, __be16 port)
{
	struct rule_key key = { .proto = proto, .port = port };
	struct rule *rule = bpf_map_lookup_elem(&rules, &key);

	if (rule) {
		__sync_fetch_and_add(&rule->hits, 1);
		return rule->action == DENY ? RULE : PASSED;
	}
	if (closed(bpf_ntohs(port))) {
		struct rule fresh = { .action = DENY, .hits = 1 };

		bpf_map_update_elem(&rules, &key, &fresh, BPF_NOEXIST);
		return RULE;
	}
	return PASSED;
}

static __always_inline int transport(void *pos, void *end, __u8 proto)
{
	struct ports *ports = pos;

	if (proto != PROTO_TCP && proto != PROTO_UDP)
		return PASSED;
	if ((void *)(ports + 1) > end)
		return MALFORMED;
	return judge(proto, ports->dst);
}

static __always_inline int check_ipv4(void *pos, void *end)
{
	struct ipv4 *ip = pos;
	__u32 header_len;

	if ((void *)(ip + 1) > end || ip->version_ihl >> 4 != 4)
		return MALFORMED;
	header_len = (ip->version_ihl & 0xf) * 4;
	if (header_len < sizeof(*ip) || pos + bpf_ntohs(ip->total_len) > end)
		return MALFORMED;
	if (ip->frag & bpf_htons(0x3fff))
		return FRAGMENT;
	return transport(pos + header_len, end, ip->proto);
}

static __always_inline int check_ipv6(void *pos, void *end)
{
	struct ipv6 *ip = pos;

	if ((void *)(ip + 1) > end)
		return MALFORMED;
	if (ip->next == PROTO_FRAGMENT)
		return FRAGMENT;
	return transport(ip + 1, end, ip->next);
}

static __always_inline int check(void *data, void *end)
{
	__u16 proto;
	void *pos = network_header(data, end, &proto);

	if (!pos)
		return MALFORMED;
	if (proto == ETH_P_IP)
		return check_ipv4(pos, end);
	if (proto == ETH_P_IPV6)
		return check_ipv6(pos, end);
	if (proto == ETH_P_ARP || allow_non_ip)
		return PASSED;
	return NOT_IP;
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 len = end - data;
	__u32 reason = check(data, end);
	__u64 *count = bpf_map_lookup_elem(&reasons, &reason);

	if (count)
		*count += 1;
	bytes_seen += len;
	if (len > longest_packet)
		longest_packet = len;
	if (reason == PASSED)
		return XDP_PASS;
	bytes_dropped += len;
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
