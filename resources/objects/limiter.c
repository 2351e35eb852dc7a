// A limit on DNS questions: a bucket of tokens for each client, and a record of
// each refusal for user space. Time comes from a variable where that is set, so
// that a test can tell the outcome.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct bucket {
	struct bpf_spin_lock lock;
	__u32 tokens;
	__u64 filled;
};

struct refusal {
	__be32 client;
	__u16 id, name_len;
	char name[32];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32);
	__type(value, struct bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 10);
} refusals SEC(".maps");

const volatile __u32 burst = 3;
const volatile __u64 interval_ns = 1000000000;
volatile __u64 now_ns;
__u64 answered, refused;

struct dns {
	__be16 id, flags, questions, answers, authorities, additional;
};

static __noinline _Bool take(struct bucket *bucket, __u64 now)
{
	_Bool taken = 0;

	if (!bucket)
		return 0;
	bpf_spin_lock(&bucket->lock);
	if (now - bucket->filled >= interval_ns) {
		bucket->tokens = burst;
		bucket->filled = now;
	}
	if (bucket->tokens) {
		bucket->tokens--;
		taken = 1;
	}
	bpf_spin_unlock(&bucket->lock);
	return taken;
}

static __always_inline void report(__be32 client, struct dns *dns, void *end)
{
	struct refusal *record = bpf_ringbuf_reserve(&refusals, sizeof(*record), 0);
	unsigned char *name = (void *)(dns + 1);
	__u32 i = 0;

	if (!record)
		return;
	__builtin_memset(record, 0, sizeof(*record));
	record->client = client;
	record->id = bpf_ntohs(dns->id);
	for (; i < sizeof(record->name); i++) {
		if ((void *)(name + i + 1) > end || !name[i])
			break;
		record->name[i] = name[i];
	}
	record->name_len = i;
	bpf_ringbuf_submit(record, 0);
}

SEC("xdp")
int limit(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	struct dns *dns = (void *)(udp + 1);

	if ((void *)(dns + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return XDP_PASS;
	if (ip->protocol != IPPROTO_UDP || udp->dest != bpf_htons(53))
		return XDP_PASS;
	__be32 client = ip->saddr;
	__u64 now = now_ns ? now_ns : bpf_ktime_get_ns();
	struct bucket *bucket = bpf_map_lookup_elem(&buckets, &client);
	if (!bucket) {
		struct bucket fresh = { .tokens = burst, .filled = now };
		bpf_map_update_elem(&buckets, &client, &fresh, BPF_NOEXIST);
		bucket = bpf_map_lookup_elem(&buckets, &client);
	}
	if (take(bucket, now)) {
		answered++;
		return XDP_PASS;
	}
	refused++;
	report(client, dns, end);
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
