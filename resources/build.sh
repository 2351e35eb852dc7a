#!/usr/bin/env bash
# Rebuilds every BPF object below this folder from its source.
# Needs Debian's clang-19, llvm-19, libbpf-dev, linux-libc-dev and bpftool.
# Usage: build.sh [OUTPUT FOLDER]
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-.}
for source in programs/*.c bench/*.c objects/*.c; do
	object=$out/${source%.c}.o
	mkdir -p "$(dirname "$object")"
	clang-19 -target bpf -mcpu=v3 -O2 -g -Wall -Werror -fdebug-prefix-map="$PWD=." \
		-fno-ident -I/usr/include/x86_64-linux-gnu -c "$source" -o "$object"
	llvm-strip-19 --strip-debug "$object"
done
# Two halves, linked statically; only the whole is kept.
PATH=$PATH:/usr/sbin
if command -v bpftool >/dev/null; then
	bpftool gen object "$out/objects/linked.o" \
		"$out/objects/linked_main.o" "$out/objects/linked_score.o"
fi
rm "$out/objects/linked_main.o" "$out/objects/linked_score.o"
