/* Integer logarithms by comparison and shift, as programs without a
 * count-leading-zeros instruction do it. */
#include "bench.h"

#define N 512

__u64 numbers[N];

static inline __u32 log2_of(__u64 v)
{
	__u32 r, shift;

	r = (v > 0xffffffff) << 5;
	v >>= r;
	shift = (v > 0xffff) << 4;
	v >>= shift;
	r |= shift;
	shift = (v > 0xff) << 3;
	v >>= shift;
	r |= shift;
	shift = (v > 0xf) << 2;
	v >>= shift;
	r |= shift;
	shift = (v > 0x3) << 1;
	v >>= shift;
	r |= shift;
	return r | v >> 1;
}

static inline __u32 body(void)
{
	__u32 sum = 0;

	for (__u32 i = 0; i < N; i++)
		sum += log2_of(numbers[i] + ((__u64)i << (i & 31)));
	return sum;
}

BENCH(logarithm)
