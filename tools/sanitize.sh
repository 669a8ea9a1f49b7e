#!/bin/sh
# Builds the C++ kernels with sanitizers and runs csrc/tests/sanitize.cpp: memory and undefined behaviour, then threads;
# then the device kernels on host threads, for races.
set -eu
cd "$(dirname "$0")/../csrc"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
for kind in address,undefined thread; do
    echo "sanitize: $kind"
    objects=
    for source in cpu/*.cpp tests/sanitize.cpp; do
        object=$build/$(basename "$source").$(echo "$kind" | tr ',' '_').o
        ${CXX:-g++} -std=c++20 -O1 -g -Wno-psabi -ffp-contract=off -fno-math-errno -fno-trapping-math \
            -fsanitize="$kind" -fno-sanitize-recover=all -Iinclude -Icpu -c "$source" -o "$object"
        objects="$objects $object"
    done
    ${CXX:-g++} -fsanitize="$kind" $objects -o "$build/sanitize" -pthread
    "$build/sanitize"
done
echo "sanitize: thread, device kernels"
${CXX:-g++} -std=c++20 -O1 -g -fsanitize=thread -Iinclude -Icuda tests/device_emulation_races.cpp -o "$build/races" -pthread
"$build/races"
