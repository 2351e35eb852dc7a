/* Compares two strings of 4,000 equal bytes. */
#include "bench.h"

#define N 4096

__u8 left[N];
__u8 right[N];

static inline __u32 body(void)
{
	__u32 i;

	for (i = 0; i < 4000; i++)
		if (left[i] != right[i])
			break;
	return i;
}

BENCH(compare)
