// A load balancer for TCP and UDP over IPv4: jhash picks a server by flow, an
// LRU table remembers it, the packet is wrapped in an outer IPv4 header to that
// server and sent out by a device map.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SERVERS 8

struct flow {
	__be32 source, destination;
	__be16 source_port, destination_port;
	__u8 protocol, pad[3];
};

struct service {
	__be32 address;
	__be16 port;
	__u8 protocol, pad;
};

struct server {
	__be32 address;
	__u32 device;
	unsigned char mac[ETH_ALEN], pad[2];
};

struct total {
	__u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct service);
	__type(value, __u32);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVERS);
	__type(key, __u32);
	__type(value, struct server);
} servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flow);
	__type(value, __u32);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u32);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SERVERS);
	__type(key, __u32);
	__type(value, struct total);
} totals SEC(".maps");

const volatile __be32 own_address;
__u64 new_flows, known_flows;

#define ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))

/* Bob Jenkins' hash of three words, final mix. */
static __always_inline __u32 jhash(__u32 a, __u32 b, __u32 c)
{
	c ^= b; c -= ROTATE(b, 14);
	a ^= c; a -= ROTATE(c, 11);
	b ^= a; b -= ROTATE(a, 25);
	c ^= b; c -= ROTATE(b, 16);
	a ^= c; a -= ROTATE(c, 4);
	b ^= a; b -= ROTATE(a, 14);
	c ^= b; c -= ROTATE(b, 24);
	return c;
}

static __noinline __u32 pick(struct flow *flow, __u32 count)
{
	__u32 ports = (__u32)flow->source_port << 16 | flow->destination_port;
	__u32 *known = bpf_map_lookup_elem(&flows, flow);

	if (known) {
		known_flows++;
		return *known;
	}
	__u32 server = jhash(flow->source, flow->destination ^ flow->protocol, ports) % count;
	bpf_map_update_elem(&flows, flow, &server, BPF_ANY);
	new_flows++;
	return server;
}

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

static __always_inline int wrap(struct xdp_md *ctx, struct server *server)
{
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct iphdr)))
		return XDP_DROP;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data, *old = data + sizeof(struct iphdr);
	struct iphdr *outer = (void *)(eth + 1), *inner = outer + 1;

	if ((void *)(inner + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(eth->h_source, old->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, server->mac, ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_IP);
	*outer = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.ttl = 64,
		.protocol = IPPROTO_IPIP,
		.tot_len = bpf_htons(bpf_ntohs(inner->tot_len) + sizeof(*outer)),
		.saddr = own_address,
		.daddr = server->address,
	};
	outer->check = fold(bpf_csum_diff(0, 0, (void *)outer, sizeof(*outer), 0));
	return bpf_redirect_map(&devices, server->device, XDP_PASS);
}

SEC("xdp")
int balance(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__be16 *ports = (void *)(ip + 1);

	if ((void *)(ports + 2) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (ip->ihl != 5 || ip->frag_off & bpf_htons(0x3fff))
		return XDP_PASS;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	struct service service = { ip->daddr, ports[1], ip->protocol, 0 };
	__u32 *count = bpf_map_lookup_elem(&services, &service);
	if (!count || !*count || *count > SERVERS)
		return XDP_PASS;
	struct flow flow = { ip->saddr, ip->daddr, ports[0], ports[1], ip->protocol };
	__u32 index = pick(&flow, *count);
	struct server *server = bpf_map_lookup_elem(&servers, &index);
	struct total *total = bpf_map_lookup_elem(&totals, &index);
	if (!server || !total)
		return XDP_DROP;
	total->packets++;
	total->bytes += end - data;
	return wrap(ctx, server);
}

char _license[] SEC("license") = "GPL";
