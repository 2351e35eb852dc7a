// What a VM does not have: each program fails to load, and the message says
// exactly what is missing. None is loaded unless asked for.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern void bpf_rcu_read_lock(void) __ksym;
extern const int some_variable __ksym;
extern int elsewhere(int);
extern int maybe(int) __ksym __weak;
int choice;

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

SEC("?xdp")
int kernel_function(struct xdp_md *ctx)
{
	bpf_rcu_read_lock();
	return XDP_PASS;
}

SEC("?xdp")
int kernel_variable(struct xdp_md *ctx)
{
	return some_variable;
}

SEC("?xdp")
int other_object(struct xdp_md *ctx)
{
	return elsewhere(1);
}

SEC("?xdp")
int weak_but_called(struct xdp_md *ctx)
{
	return maybe(1);
}

SEC("?xdp")
int helper(struct xdp_md *ctx)
{
	__u64 word = 0;
	bpf_probe_read_kernel(&word, sizeof(word), (void *)8);
	return word;
}

SEC("?tc")
int map_type(struct __sk_buff *ctx)
{
	__u32 key = 0;
	return bpf_map_delete_elem(&sockets, &key);
}

SEC("?kprobe/do_exit")
int program_type(void *ctx)
{
	return 0;
}

SEC("?freplace/other")
int extension(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("?my-own-name")
int section(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
