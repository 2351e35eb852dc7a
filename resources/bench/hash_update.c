/* 4,096 updates of existing keys of a hash map. */
#include "bench.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 20);
	__type(key, __u32);
	__type(value, __u64);
} table SEC(".maps");

const volatile __u32 mask = 1023;
__u32 start;

static inline __u32 body(void)
{
	__u32 failed = 0, key = start;

	for (__u32 i = 0; i < 4096; i++) {
		__u32 at = key & mask;
		__u64 value = i;

		if (bpf_map_update_elem(&table, &at, &value, BPF_ANY))
			failed++;
		key += 40503;
	}
	start = key;
	return failed;
}

BENCH(hash_update)
