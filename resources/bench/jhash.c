/* A lookup3-style hash over 64 KiB: rotations, additions, exclusive ors. */
#include "bench.h"

#define WORDS 16380

__u32 words[16384];

static inline __u32 rotl(__u32 x, int k)
{
	return x << k | x >> (32 - k);
}

static inline __u32 body(void)
{
	__u32 a = 0xdeadbeef, b = a, c = a;

	for (__u32 i = 0; i < WORDS; i += 3) {
		a += words[i];
		b += words[i + 1];
		c += words[i + 2];
		a = (a - c) ^ rotl(c, 4);
		c += b;
		b = (b - a) ^ rotl(a, 6);
		a += c;
		c = (c - b) ^ rotl(b, 8);
		b += a;
		a = (a - c) ^ rotl(c, 16);
		c += b;
		b = (b - a) ^ rotl(a, 19);
		a += c;
		c = (c - b) ^ rotl(b, 4);
		b += a;
	}
	return c;
}

BENCH(jhash)
