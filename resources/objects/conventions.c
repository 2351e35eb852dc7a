// Every convention of libbpf that a loader has to know: names of sections,
// definitions of maps, sections of global data, externs, functions of all
// linkages. The verdicts say whether all of it was understood.
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

struct flow {
	__u32 hits;
	__u64 bytes[3];
};

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct flow);
} first SEC(".maps"), second SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = {
	.values = { [0] = &first, [2] = &second },
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_HASH);
		__uint(max_entries, 8);
		__type(key, __u64);
		__type(value, __u64);
	});
} by_name SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(numa_node, 0);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} shared SEC(".maps");

int step(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, int(struct xdp_md *));
} steps SEC(".maps") = {
	.values = { [1] = &step },
};

const volatile int factor = 5;
static const volatile char text[] SEC(".rodata.text") = "hello";
int counter SEC(".data.count") = 7;
int runs SEC(".bss.runs");

extern int LINUX_KERNEL_VERSION __kconfig;
extern int CONFIG_HZ __kconfig;
extern _Bool CONFIG_NOT_THERE __kconfig __weak;
extern int no_such_function(int) __ksym __weak;
extern const int no_such_variable __ksym __weak;

static __noinline int local(int x)
{
	return x * factor + counter;
}

__noinline int global(int x)
{
	return local(x) + 1;
}

__weak int weak(int x)
{
	return x + 3;
}

__hidden __noinline int hidden(int x)
{
	return x + text[1];
}

static long add(__u32 i, void *sum)
{
	*(int *)sum += i;
	return 0;
}

SEC("xdp")
int everything(struct xdp_md *ctx)
{
	__u32 key = 0;
	int sum = 0;

	bpf_loop(5, add, &sum, 0);
	if (no_such_function)
		sum += no_such_function(3) * 1000;
	if (&no_such_variable)
		sum += no_such_variable * 1000;
	void *map = bpf_map_lookup_elem(&outer, &key);
	struct flow *flow = map ? bpf_map_lookup_elem(map, &key) : 0;
	if (flow)
		sum += ++flow->hits;
	__u64 one = 1, *seen = bpf_map_lookup_elem(&shared, &key);
	if (seen)
		__sync_fetch_and_add(seen, 1);
	else
		bpf_map_update_elem(&shared, &key, &one, BPF_ANY);
	runs++;
	return sum + global(ctx->rx_queue_index) + weak(2) + hidden(0) + CONFIG_NOT_THERE;
}

SEC("xdp/settings")
int settings(struct xdp_md *ctx)
{
	return LINUX_KERNEL_VERSION + CONFIG_HZ;
}

SEC("?xdp/step")
int step(struct xdp_md *ctx)
{
	return 99;
}

SEC("xdp/walk")
int walk(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &steps, 1);
	return 1;
}

struct flow___other {
	__u32 nothing;
};

SEC("tc")
int existence(struct __sk_buff *ctx)
{
	return bpf_core_type_exists(struct __sk_buff) |
	       bpf_core_field_exists(struct xdp_md, rx_queue_index) << 1 |
	       bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop) << 2 |
	       bpf_core_type_exists(struct flow) << 3 |
	       bpf_core_field_exists(struct flow___other, nothing) << 4 |
	       (bpf_core_field_size(struct xdp_md, data) == 4) << 5 |
	       (bpf_core_enum_value(enum bpf_func_id, BPF_FUNC_loop) == 181) << 6;
}

#define NAMED(name, section, context, verdict)                                                     \
	SEC(section) int name(struct context *ctx)                                                 \
	{                                                                                          \
		return verdict;                                                                    \
	}

NAMED(xdp_frags, "xdp.frags", xdp_md, XDP_PASS)
NAMED(xdp_devmap, "xdp/devmap", xdp_md, XDP_PASS)
NAMED(xdp_frags_devmap, "xdp.frags/devmap", xdp_md, XDP_PASS)
NAMED(xdp_cpumap, "xdp/cpumap", xdp_md, XDP_PASS)
NAMED(xdp_old, "xdp_old_style", xdp_md, XDP_PASS)
NAMED(tc_ingress, "tc/ingress", __sk_buff, 0)
NAMED(tcx_ingress, "tcx/ingress", __sk_buff, 0)
NAMED(tcx_egress, "tcx/egress", __sk_buff, 0)
NAMED(cls, "classifier", __sk_buff, 0)
NAMED(cls_named, "classifier/x", __sk_buff, 0)
NAMED(act, "action", __sk_buff, 0)
NAMED(socket_1, "socket1", __sk_buff, 64)
NAMED(not_loaded, "?xdp", xdp_md, XDP_DROP)
NAMED(no_type, "?from-container", __sk_buff, 7)

char _license[] SEC("license") = "GPL";
__u32 _version SEC("version") = 1;
