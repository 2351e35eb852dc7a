// An egress policy: a classifier that goes from one stage to the next by tail
// calls and keeps what it found in the packet's control block.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { STAGE_IPV4, STAGE_IPV6, STAGE_POLICY, STAGE_COUNT, STAGES };
enum { CB_IDENTITY, CB_PORT, CB_PROTOCOL, CB_VERDICT };

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, STAGES);
	__uint(key_size, 4);
	__uint(value_size, 4);
} stages SEC(".maps");

struct network {
	__u32 length;
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 128);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct network);
	__type(value, __u32);
} identities SEC(".maps");

struct rule {
	__u32 identity;
	__u16 port;
	__u8 protocol, pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, struct rule);
	__type(value, __u8);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 256);
	__type(key, __u64);
	__type(value, __u64);
} counts SEC(".maps");

const volatile _Bool allow_by_default = 0;

static __always_inline void identify(struct __sk_buff *skb, struct network *network)
{
	__u32 *identity = bpf_map_lookup_elem(&identities, network);
	skb->cb[CB_IDENTITY] = identity ? *identity : 0;
}

static __always_inline void ports(struct __sk_buff *skb, __u32 offset, __u8 protocol)
{
	__be16 port = 0;
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP)
		bpf_skb_load_bytes(skb, offset + 2, &port, sizeof(port));
	skb->cb[CB_PORT] = bpf_ntohs(port);
	skb->cb[CB_PROTOCOL] = protocol;
}

SEC("classifier")
int egress(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		bpf_tail_call(skb, &stages, STAGE_IPV4);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		bpf_tail_call(skb, &stages, STAGE_IPV6);
	return TC_ACT_OK;
}

SEC("classifier")
int ipv4(struct __sk_buff *skb)
{
	struct network network = { .length = 128, .address = { [10] = 0xff, [11] = 0xff } };
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return TC_ACT_SHOT;
	__builtin_memcpy(&network.address[12], &ip.daddr, 4);
	identify(skb, &network);
	ports(skb, ETH_HLEN + ip.ihl * 4, ip.protocol);
	bpf_tail_call(skb, &stages, STAGE_POLICY);
	return TC_ACT_SHOT;
}

SEC("classifier")
int ipv6(struct __sk_buff *skb)
{
	struct network network = { .length = 128 };
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return TC_ACT_SHOT;
	__builtin_memcpy(network.address, &ip.daddr, 16);
	identify(skb, &network);
	ports(skb, ETH_HLEN + sizeof(ip), ip.nexthdr);
	bpf_tail_call(skb, &stages, STAGE_POLICY);
	return TC_ACT_SHOT;
}

SEC("classifier")
int policy(struct __sk_buff *skb)
{
	struct rule rule = {
		.identity = skb->cb[CB_IDENTITY],
		.port = skb->cb[CB_PORT],
		.protocol = skb->cb[CB_PROTOCOL],
	};
	__u8 *allowed = bpf_map_lookup_elem(&rules, &rule);

	if (!allowed) {
		rule.port = 0;
		allowed = bpf_map_lookup_elem(&rules, &rule);
	}
	skb->cb[CB_VERDICT] = (allowed ? *allowed : allow_by_default) ? TC_ACT_OK : TC_ACT_SHOT;
	bpf_tail_call(skb, &stages, STAGE_COUNT);
	return TC_ACT_SHOT;
}

SEC("classifier")
int count(struct __sk_buff *skb)
{
	__u64 key = (__u64)skb->cb[CB_IDENTITY] << 32 | skb->cb[CB_VERDICT], one = 1;
	__u64 *count = bpf_map_lookup_elem(&counts, &key);

	if (count)
		*count += 1;
	else
		bpf_map_update_elem(&counts, &key, &one, BPF_NOEXIST);
	return skb->cb[CB_VERDICT];
}

char _license[] SEC("license") = "GPL";
