/* Rewrites packets: answers ICMP echo requests (addresses swapped, checksum
 * mended), takes an outer VLAN tag off (head adjusted), cuts Ethernet padding
 * behind an IPv4 packet (tail adjusted), and passes the rest as it is. */
#include "packet.h"

#define ECHO_REQUEST 8
#define ECHO_REPLY 0
#define ECHO_REQUEST_V6 128
#define ECHO_REPLY_V6 129

__u64 echoes_answered;
__u64 tags_removed;
__u64 bytes_trimmed;

static __always_inline void swap_macs(struct ethernet *eth)
{
	__u8 mac[6];

	__builtin_memcpy(mac, eth->dst, 6);
	__builtin_memcpy(eth->dst, eth->src, 6);
	__builtin_memcpy(eth->src, mac, 6);
}

/* The one's complement checksum after `from` became `to`, both one word. */
static __always_inline __u16 mend(__u16 check, __be32 from, __be32 to)
{
	__s64 sum = bpf_csum_diff(&from, 4, &to, 4, (__u16)~check);

	sum = (sum & 0xffff) + ((__u64)sum >> 16);
	sum = (sum & 0xffff) + ((__u64)sum >> 16);
	return (__u16)~sum;
}

static __always_inline int echo(struct icmp *icmp, __u8 reply)
{
	__be32 from, to;

	__builtin_memcpy(&from, icmp, 2);
	from &= 0xffff;
	icmp->type = reply;
	__builtin_memcpy(&to, icmp, 2);
	to &= 0xffff;
	icmp->check = mend(icmp->check, from, to);
	__sync_fetch_and_add(&echoes_answered, 1);
	return XDP_TX;
}

static __noinline int answer_ipv4(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethernet *eth = (void *)(long)ctx->data;
	struct ipv4 *ip = (void *)(eth + 1);
	struct icmp *icmp = (void *)(ip + 1);
	__be32 src;

	if ((void *)(icmp + 1) > end || ip->version_ihl != 0x45)
		return XDP_PASS;
	if (ip->proto != PROTO_ICMP || icmp->type != ECHO_REQUEST || ip->frag & bpf_htons(0x3fff))
		return XDP_PASS;
	swap_macs(eth);
	src = ip->src;
	ip->src = ip->dst;
	ip->dst = src;
	return echo(icmp, ECHO_REPLY);
}

static __noinline int answer_ipv6(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethernet *eth = (void *)(long)ctx->data;
	struct ipv6 *ip = (void *)(eth + 1);
	struct icmp *icmp = (void *)(ip + 1);
	__u8 src[16];

	if ((void *)(icmp + 1) > end)
		return XDP_PASS;
	if (ip->next != PROTO_ICMPV6 || icmp->type != ECHO_REQUEST_V6)
		return XDP_PASS;
	swap_macs(eth);
	__builtin_memcpy(src, ip->src, 16);
	__builtin_memcpy(ip->src, ip->dst, 16);
	__builtin_memcpy(ip->dst, src, 16);
	return echo(icmp, ECHO_REPLY_V6);
}

/* Takes the outer VLAN tag off: the addresses move up by four bytes. */
static __noinline int untag(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct ethernet *eth = data;
	__u8 macs[12];

	if (data + sizeof(*eth) + sizeof(struct vlan) > end)
		return 0;
	if (eth->proto != bpf_htons(ETH_P_8021Q) && eth->proto != bpf_htons(ETH_P_8021AD))
		return 0;
	/* The shortest frame there is must remain. */
	if (data + sizeof(*eth) + sizeof(struct vlan) + 14 > end)
		return 0;
	__builtin_memcpy(macs, data, 12);
	if (bpf_xdp_adjust_head(ctx, sizeof(struct vlan)))
		return 0;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + 12 > end)
		return 0;
	__builtin_memcpy(data, macs, 12);
	__sync_fetch_and_add(&tags_removed, 1);
	return 1;
}

/* Cuts what lies behind the end of the IPv4 packet. */
static __noinline int trim(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct ethernet *eth = data;
	struct ipv4 *ip = (void *)(eth + 1);
	__u32 have, want;

	if ((void *)(ip + 1) > end || eth->proto != bpf_htons(ETH_P_IP))
		return 0;
	have = end - data;
	want = sizeof(*eth) + bpf_ntohs(ip->total_len);
	if (want < sizeof(*eth) + sizeof(*ip) || have <= want)
		return 0;
	if (bpf_xdp_adjust_tail(ctx, (int)(want - have)))
		return 0;
	__sync_fetch_and_add(&bytes_trimmed, have - want);
	return 1;
}

SEC("xdp")
int rewriter(struct xdp_md *ctx)
{
	void *end, *data;
	struct ethernet *eth;

	untag(ctx);
	trim(ctx);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	if (eth->proto == bpf_htons(ETH_P_IP))
		return answer_ipv4(ctx);
	if (eth->proto == bpf_htons(ETH_P_IPV6))
		return answer_ipv6(ctx);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
