/* The cost of entering and leaving a program. */
#include "bench.h"

static inline __u32 body(void)
{
	return 2;
}

BENCH(trivial)
