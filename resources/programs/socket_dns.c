/* A socket filter: keeps the headers of DNS over UDP on IPv4 (any number of
 * bytes may be kept; 0 drops the packet). Reads relative to the network header,
 * with the legacy packet loads and with bpf_skb_load_bytes_relative, so that it
 * does not matter whether the socket sees the link layer. */
#include "packet.h"

unsigned long long load_byte(void *skb, unsigned long long off) asm("llvm.bpf.load.byte");

#define SKF_NET_OFF (-0x100000)
#define HDR_START_NET 1
#define ETH_LEN 14
#define DNS_PORT 53

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} directions SEC(".maps");

SEC("socket")
int dns(struct __sk_buff *skb)
{
	struct ports ports;
	__u32 header_len, direction;
	__u64 *count;

	if (skb->protocol != bpf_htons(ETH_P_IP) || load_byte(skb, SKF_NET_OFF + 9) != PROTO_UDP)
		return 0;
	header_len = (load_byte(skb, SKF_NET_OFF) & 0xf) * 4;
	if (bpf_skb_load_bytes_relative(skb, header_len, &ports, sizeof(ports), HDR_START_NET))
		return 0;
	if (ports.dst == bpf_htons(DNS_PORT))
		direction = 0;
	else if (ports.src == bpf_htons(DNS_PORT))
		direction = 1;
	else
		return 0;
	count = bpf_map_lookup_elem(&directions, &direction);
	if (count)
		*count += 1;
	return ETH_LEN + header_len + 8;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
