/* A socket filter: keeps the headers of DNS over UDP on IPv4 (any number of
 * bytes may be kept; 0 drops the packet). Reads with the legacy packet loads and
 * with bpf_skb_load_bytes. */
#include "packet.h"

unsigned long long load_byte(void *skb, unsigned long long off) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long off) asm("llvm.bpf.load.half");

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

	if (load_half(skb, 12) != ETH_P_IP || load_byte(skb, ETH_LEN + 9) != PROTO_UDP)
		return 0;
	header_len = (load_byte(skb, ETH_LEN) & 0xf) * 4;
	if (bpf_skb_load_bytes(skb, ETH_LEN + header_len, &ports, sizeof(ports)))
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
