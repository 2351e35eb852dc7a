/* FNV-1a over 64 KiB: a chain of multiplications, one byte at a time. */
#include "bench.h"

#define N 65536

__u8 text[N];

static inline __u32 body(void)
{
	__u64 hash = 0xcbf29ce484222325ULL;

	for (__u32 i = 0; i < N; i++)
		hash = (hash ^ text[i]) * 0x100000001b3ULL;
	return hash ^ hash >> 32;
}

BENCH(fnv)
