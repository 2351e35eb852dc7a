// Maps as they were defined before BTF, in the structure that iproute2 reads:
// with ids, inner maps and pinning.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_elf_map {
	__u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx;
};

struct bpf_elf_map counts SEC("maps") = {
	.type = BPF_MAP_TYPE_PERCPU_ARRAY,
	.size_key = 4,
	.size_value = 8,
	.max_elem = 2,
};

struct bpf_elf_map template SEC("maps") = {
	.type = BPF_MAP_TYPE_HASH,
	.size_key = 4,
	.size_value = 4,
	.max_elem = 8,
	.id = 7,
};

struct bpf_elf_map tables SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY_OF_MAPS,
	.size_key = 4,
	.size_value = 4,
	.max_elem = 4,
	.inner_id = 7,
};

struct bpf_elf_map everywhere SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY,
	.size_key = 4,
	.size_value = 8,
	.max_elem = 1,
	.pinning = 2,
};

SEC("classifier")
int count(struct __sk_buff *skb)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&counts, &key);
	if (count)
		*count += 1;
	count = bpf_map_lookup_elem(&everywhere, &key);
	if (count)
		__sync_fetch_and_add(count, skb->len);
	void *table = bpf_map_lookup_elem(&tables, &key);
	__u32 *found = table ? bpf_map_lookup_elem(table, &key) : 0;
	return found ? *found : 1;
}

char _license[] SEC("license") = "GPL";
