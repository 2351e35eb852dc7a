/* 4,096 lookups in a hash map, at a stride over all its keys (the caller fills
 * it with keys 0 to `entries` - 1). BPF only: natively a Rust map is measured. */
#include "bench.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 20);
	__type(key, __u32);
	__type(value, __u64);
} table SEC(".maps");

/* A power of two, set before loading. */
const volatile __u32 mask = 1023;
__u32 start;

static inline __u32 body(void)
{
	__u32 sum = 0, key = start;

	for (__u32 i = 0; i < 4096; i++) {
		__u32 at = key & mask;
		__u64 *value = bpf_map_lookup_elem(&table, &at);

		if (value)
			sum += *value;
		key += 40503;
	}
	start = key;
	return sum;
}

BENCH(hash_loop)
