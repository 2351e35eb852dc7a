// A firewall by source networks: one trie for IPv4, one for IPv6, counters per
// CPU, VLAN tags and IPv6 extension headers looked behind.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct network4 {
	__u32 length;
	__be32 address;
};

struct network6 {
	__u32 length;
	struct in6_addr address;
};

struct verdict {
	__u32 action, id;
};

struct total {
	__u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct network4);
	__type(value, struct verdict);
} networks4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct network6);
	__type(value, struct verdict);
} networks6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct total);
} totals SEC(".maps");

struct tag {
	__be16 id, protocol;
};

static __always_inline int decide(struct xdp_md *ctx, struct verdict *verdict)
{
	__u32 id = verdict ? verdict->id & 15 : 0;
	struct total *total = bpf_map_lookup_elem(&totals, &id);

	if (total) {
		total->packets++;
		total->bytes += ctx->data_end - ctx->data;
	}
	return verdict ? verdict->action : XDP_PASS;
}

SEC("xdp")
int networks(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return XDP_ABORTED;
	__be16 protocol = eth->h_proto;
	void *at = eth + 1;
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		struct tag *tag = at;
		if ((void *)(tag + 1) > end)
			return XDP_ABORTED;
		protocol = tag->protocol;
		at = tag + 1;
	}
	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = at;
		if ((void *)(ip + 1) > end)
			return XDP_ABORTED;
		struct network4 network = { 32, ip->saddr };
		return decide(ctx, bpf_map_lookup_elem(&networks4, &network));
	}
	if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = at;
		if ((void *)(ip + 1) > end)
			return XDP_ABORTED;
		struct network6 network = { 128, ip->saddr };
		return decide(ctx, bpf_map_lookup_elem(&networks6, &network));
	}
	return decide(ctx, 0);
}

char _license[] SEC("license") = "GPL";
