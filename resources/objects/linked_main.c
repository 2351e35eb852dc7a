// One half of a program that is linked from two objects (bpftool gen object):
// functions, maps and variables of the other half are only declared here.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

extern int weight;
extern int score(int length);
int own = 3;
static int calls;

/* The other half has a better one. */
__weak int preference(void)
{
	return 1000;
}

SEC("xdp")
int rate(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 *count = bpf_map_lookup_elem(&seen, &key);
	if (count)
		*count += 1;
	calls++;
	return score(ctx->data_end - ctx->data) + weight + own + preference();
}

char _license[] SEC("license") = "GPL";
