/* Parsing shared by the example programs: Ethernet, up to two VLAN tags, IPv4
 * and IPv6 (no extension headers but the fragment header), TCP, UDP, ICMP. */
#ifndef PACKET_H
#define PACKET_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define ETH_P_ARP 0x0806

#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_FRAGMENT 44
#define PROTO_ICMPV6 58

struct ethernet {
	__u8 dst[6];
	__u8 src[6];
	__be16 proto;
} __attribute__((packed));

struct vlan {
	__be16 tci;
	__be16 proto;
} __attribute__((packed));

struct ipv4 {
	__u8 version_ihl;
	__u8 tos;
	__be16 total_len;
	__be16 id;
	__be16 frag;
	__u8 ttl;
	__u8 proto;
	__u16 check;
	__be32 src;
	__be32 dst;
} __attribute__((packed));

struct ipv6 {
	__be32 flow;
	__be16 payload_len;
	__u8 next;
	__u8 hop_limit;
	__u8 src[16];
	__u8 dst[16];
} __attribute__((packed));

struct ports {
	__be16 src;
	__be16 dst;
} __attribute__((packed));

struct icmp {
	__u8 type;
	__u8 code;
	__u16 check;
	__be16 id;
	__be16 seq;
} __attribute__((packed));

/* Moves over the Ethernet header and its VLAN tags. Returns the position of the
 * network header and sets *proto, or returns 0 when the frame is too short. */
static __always_inline void *network_header(void *data, void *end, __u16 *proto)
{
	struct ethernet *eth = data;
	void *pos = eth + 1;

	if (pos > end)
		return 0;
	*proto = bpf_ntohs(eth->proto);
#pragma unroll
	for (int tag = 0; tag < 2; tag++) {
		struct vlan *vlan = pos;

		if (*proto != ETH_P_8021Q && *proto != ETH_P_8021AD)
			break;
		if ((void *)(vlan + 1) > end)
			return 0;
		*proto = bpf_ntohs(vlan->proto);
		pos = vlan + 1;
	}
	return pos;
}

#endif
