/* Sieve of Eratosthenes: strided byte stores. */
#include "bench.h"

#define N 8192

__u8 composite[N];

static inline __u32 body(void)
{
	__u32 found = 0;

	for (__u32 i = 0; i < N; i++) {
		__u8 zero = 0;

		OPAQUE(zero);
		composite[i] = zero;
	}
	for (__u32 i = 2; i < N; i++) {
		if (composite[i])
			continue;
		found++;
		for (__u32 j = 2 * i; j < N; j += i)
			composite[j] = 1;
	}
	return found;
}

BENCH(sieve)
