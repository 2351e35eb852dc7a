/* 4,096 lookups in an array map. Natively: indexing with a bounds check. */
#include "bench.h"

#define ENTRIES 4096

#ifdef NATIVE
static __u64 counters[ENTRIES];
static inline __u64 *lookup(__u32 key)
{
	OPAQUE(key);
	return key < ENTRIES ? &counters[key] : 0;
}
#else
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");
static inline __u64 *lookup(__u32 key)
{
	return bpf_map_lookup_elem(&counters, &key);
}
#endif

static inline __u32 body(void)
{
	__u32 sum = 0;

	for (__u32 i = 0; i < 4096; i++) {
		__u64 *value = lookup((i * 2654435761u) & (ENTRIES - 1));

		if (value)
			sum += ++*value;
	}
	return sum;
}

BENCH(array_loop)
