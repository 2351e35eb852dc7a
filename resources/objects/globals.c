// Global functions: verified on their own, for any arguments that their types allow.
// A program whose name begins with "bad_" is rejected by Linux, for the reason that
// stands above it.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef __arg_ctx
#define __arg_ctx __attribute__((btf_decl_tag("arg:ctx")))
#endif
#ifndef __arg_nonnull
#define __arg_nonnull __attribute__((btf_decl_tag("arg:nonnull")))
#endif
#define noinline __attribute__((noinline))
#define hidden __attribute__((visibility("hidden")))

struct key {
	__u32 a, b;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct key);
} table SEC(".maps");

// Any number may come.
noinline int clamp(long n)
{
	if (n < 0)
		return 0;
	return n > 100 ? 100 : (int)n;
}

// A pointer may be null.
noinline int sum(const struct key *key)
{
	if (!key)
		return -1;
	return key->a + key->b;
}

noinline int swap(struct key *key __arg_nonnull)
{
	__u32 a = key->a;

	key->a = key->b;
	key->b = a;
	return 0;
}

// The context, by the name of its type.
noinline int bytes(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

// The context, by its tag.
noinline int room(void *ctx __arg_ctx)
{
	return bpf_xdp_adjust_tail(ctx, -1);
}

// Nothing is known of the argument here, and nothing need be: it calls another.
noinline int nested(struct key *key, int n)
{
	if (sum(key) < n)
		return clamp(n);
	return clamp(-n);
}

// Hidden functions count as static ones: followed with what the caller knows.
hidden noinline int at(const __u8 *data, __u32 index)
{
	return data[index];
}

// Nobody calls it, so nobody verifies it.
noinline int broken(struct key *key)
{
	return key->a;
}

static noinline int stat(struct key *key)
{
	return key->a + 1;
}

SEC("xdp")
int calls(struct xdp_md *ctx)
{
	struct key key = { 3, 4 };

	swap(&key);
	return sum(&key) * 1000 + clamp(ctx->ingress_ifindex) + bytes(ctx) + stat(&key) * 10000;
}

SEC("xdp")
int values(struct xdp_md *ctx)
{
	__u32 zero = 1;
	struct key *key = bpf_map_lookup_elem(&table, &zero);

	return sum(key) + nested(key, 7) + sum(0);
}

SEC("xdp")
int follows(struct xdp_md *ctx)
{
	__u8 data[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	__u32 index = ctx->rx_queue_index;

	if (index > 7)
		index = 7;
	return at(data, index);
}

// The result of a global function is any number, whatever it returns.
SEC("xdp")
int bad_result(struct xdp_md *ctx)
{
	__u8 data[128] = {};
	int n = clamp(ctx->ingress_ifindex);

	bpf_xdp_load_bytes(ctx, 0, data, sizeof(data));
	return data[n];
}

// What is behind the pointer is too short.
SEC("xdp")
int bad_short(struct xdp_md *ctx)
{
	__u32 half = 5;

	return sum((void *)&half);
}

// The pointer may be null.
SEC("xdp")
int bad_null(struct xdp_md *ctx)
{
	__u32 zero = 1;
	struct key *key = bpf_map_lookup_elem(&table, &zero);

	return swap(key);
}

// The packet was given up by a function that changes it.
SEC("xdp")
int bad_packet(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	if (data + 1 > (__u8 *)end)
		return 0;
	room(ctx);
	return data[0];
}

// A function that is called must be right for any arguments.
SEC("xdp")
int bad_callee(struct xdp_md *ctx)
{
	struct key key = { 3, 4 };

	return broken(&key);
}

// Not the context.
SEC("xdp")
int bad_context(struct xdp_md *ctx)
{
	struct xdp_md other = {};

	return bytes(&other);
}

char _license[] SEC("license") = "GPL";
