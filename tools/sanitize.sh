#!/bin/sh
# usage: sanitize.sh [quick]
# Builds the C++ kernels with sanitizers and runs csrc/tests/sanitize.cpp: memory and undefined behaviour, then threads,
# with checked indices and images cut into many strips; then the device kernels on host threads, for races. Without
# `quick` also as they are built for users, on large images, and under valgrind, which knows memory without a value
# (MemorySanitizer needs clang, with which the kernels have no AVX) but no AVX-512.
set -eu
cd "$(dirname "$0")/../csrc"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
jobs=${JOBS:-2}
compiler=${CXX:-g++}
flags="-std=c++20 -g -Wno-psabi -ffp-contract=off -fno-math-errno -fno-trapping-math -Iinclude -Icpu"

# build NAME FLAGS...: builds $build/NAME
build() {
    name=$1
    shift
    mkdir "$build/$name.objects"
    printf '%s\n' cpu/*.cpp tests/sanitize.cpp |
        xargs -P "$jobs" -I{} sh -c "$compiler $flags $* -c {} -o $build/$name.objects/\$(basename {}).o"
    $compiler "$@" "$build/$name.objects"/*.o -o "$build/$name" -pthread
}

for kind in address,undefined thread; do
    echo "sanitize: $kind, checked"
    build "checked_$kind" -O1 -fsanitize="$kind" -fno-sanitize-recover=all -DDINOCELL_CHECKED -D_GLIBCXX_ASSERTIONS
    "$build/checked_$kind"
done
echo "sanitize: thread, device kernels"
$compiler -std=c++20 -O1 -g -fsanitize=thread -Iinclude -Icuda tests/device_emulation_races.cpp -o "$build/races" -pthread
"$build/races"
[ "${1:-}" = quick ] && exit
for kind in address,undefined thread; do
    echo "sanitize: $kind, large images"
    build "$kind" -O1 -fsanitize="$kind" -fno-sanitize-recover=all
    "$build/$kind"
    "$build/$kind" large
done
echo "sanitize: valgrind"
build plain -O1
valgrind --quiet --error-exitcode=1 "$build/plain" undefined
