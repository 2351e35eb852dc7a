/* A byte code of sixteen operations: compare chains and indirect choices. */
#include "bench.h"

#define N 1024

__u8 steps[N];

static inline __u32 body(void)
{
	__u32 x = 1;

	for (__u32 i = 0; i < N; i++) {
		switch ((steps[i] + i) & 15) {
		case 0: x += 3; break;
		case 1: x ^= 0x55; break;
		case 2: x *= 5; break;
		case 3: x -= 7; break;
		case 4: x |= 1; break;
		case 5: x <<= 1; break;
		case 6: x >>= 1; break;
		case 7: x = ~x; break;
		case 8: x += i; break;
		case 9: x ^= i; break;
		case 10: x -= i; break;
		case 11: x &= 0xffffff; break;
		case 12: x += x >> 3; break;
		case 13: x ^= x << 2; break;
		case 14: x = -x; break;
		default: x++;
		}
	}
	return x;
}

BENCH(branches)
