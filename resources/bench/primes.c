/* Trial division: divisions and short loops. */
#include "bench.h"

static inline __u32 body(void)
{
	__u32 found = 0;

	for (__u32 n = 3; n < 1000; n += 2) {
		__u32 d = 3, prime = 1;

		for (; d * d <= n; d += 2) {
			__u32 rest = n;

			OPAQUE(rest);
			if (rest % d == 0) {
				prime = 0;
				break;
			}
		}
		found += prime;
	}
	return found;
}

BENCH(primes)
