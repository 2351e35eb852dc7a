/* Copies 64 KiB by 64-bit words. */
#include "bench.h"

#define N 8192

__u64 from[N];
__u64 to[N];

static inline __u32 body(void)
{
	for (__u32 i = 0; i < N; i++) {
		__u64 word = from[i];

		OPAQUE(word);
		to[i] = word;
	}
	return to[N - 1];
}

BENCH(copy)
