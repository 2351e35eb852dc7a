/* What a packet filter does, over 64 frames in memory: header after header with
 * a check of the length before each, a list of closed ports, and counters. The
 * fields that decide are random, so all ways are taken. */
#include "bench.h"

#define FRAMES 64

struct frame {
	__u8 ethernet[12];
	__u16 type;
	__u8 version_ihl, tos;
	__u16 len, id, frag;
	__u8 ttl, proto;
	__u16 sum;
	__u32 saddr, daddr;
	__u16 source, dest;
	__u8 rest[26];
};

struct frame frames[FRAMES];
const volatile __u16 closed_ports[4] = { 23, 445, 1900, 8081 };
__u64 counters[8];

static inline __u32 closed(__u16 port)
{
	for (int i = 0; i < 4; i++)
		if (closed_ports[i] == port)
			return 1;
	return 0;
}

static inline __u32 transport(const __u8 *pos, const __u8 *end, __u8 proto, __u32 addr)
{
	const __u16 *ports = (const __u16 *)pos;
	__u16 port;

	if (proto & 1)
		return 1;
	if (pos + 4 > end)
		return 2;
	port = __builtin_bswap16(ports[1]);
	if (closed(port))
		return 3;
	return ((addr ^ port) * 2654435761u) >> 31 ? 4 : 5;
}

static inline __u32 judge(const struct frame *f)
{
	const __u8 *pos = (const __u8 *)f, *end = pos + 34 + (f->rest[0] & 15);
	__u32 header = 20 + (f->version_ihl & 1) * 4;

	if ((f->type & 7) == 0)
		return 0;
	if (pos + 14 + 20 > end || __builtin_bswap16(f->len) < 256)
		return 2;
	if ((f->frag & 0x1f) == 0)
		return 6;
	return transport(pos + 14 + header, end, f->proto, f->saddr ^ f->daddr);
}

static inline __u32 body(void)
{
	__u32 sum = 0;

	for (__u32 i = 0; i < FRAMES; i++) {
		__u32 verdict = judge(&frames[i]);

		counters[verdict & 7] += frames[i].id;
		sum = sum * 5 + verdict;
	}
	return sum;
}

BENCH(filter)
