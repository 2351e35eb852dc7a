// The other half of linked_main.c.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} scored SEC(".maps");

int weight = 40;
static int calls;

static __noinline int twice(int x)
{
	return x * 2;
}

int preference(void)
{
	return 7;
}

int score(int length)
{
	__u32 key = 1;
	__u64 *count = bpf_map_lookup_elem(&scored, &key);
	calls++;
	return twice(length) + (count ? *count : 500);
}

char _license[] SEC("license") = "GPL";
