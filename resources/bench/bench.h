/* One body, two ways to compile it: as an XDP program, or (with -DNATIVE) as an
 * ordinary function of the same work. Buffers are global data. */
#ifndef BENCH_H
#define BENCH_H

#ifdef NATIVE
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
#define BENCH(name)                                              \
	__u32 bench_##name(void);                                \
	__u32 bench_##name(void) { return body(); }
#else
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#define BENCH(name)                                              \
	SEC("xdp") int name(struct xdp_md *ctx) { return body(); } \
	char LICENSE[] SEC("license") = "Dual MIT/GPL";
#endif

/* Keeps the compiler from working out at compile time what is to be measured. */
#define OPAQUE(x) asm volatile("" : "+r"(x))

#endif
