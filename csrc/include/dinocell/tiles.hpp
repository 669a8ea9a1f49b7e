#pragma once

#include <cstddef>
#include <cstdint>

#include "dinocell/cuda.hpp"

namespace dinocell {

// Tiles of an image as network input: out = clip(pixel * scale + offset, low, high).
//
// image: [channels, height, width] row-major, height and width >= 1. Pixel: uint8_t, uint16_t, float.
// ys, xs: first row and column of the tile rows and columns; may be negative or reach beyond the image, where pixels
//         are mirrored about the border pixel (numpy's "reflect"), as often as needed.
// scale, offset: by channel.
// out:   [num_ys, num_xs, channels, tile, tile]; may not overlap image. NaN stays NaN. Out: float, or uint16_t for the
//        bits of the nearest bfloat16 (ties to even).
// num_threads: 0 = one below half a megapixel of output, else all cores.
// O(output). The product and the sum are rounded separately, so that every CPU gives the same bits.
template <typename Pixel, typename Out>
void gather_tiles(const Pixel* image, size_t channels, size_t height, size_t width, const int64_t* ys, size_t num_ys,
                  const int64_t* xs, size_t num_xs, size_t tile, const float* scale, const float* offset, float low,
                  float high, Out* out, size_t num_threads);

// The inverse for single-channel predictions: overlapping tiles become the rows [row_begin, row_end) of one image.
//
// tiles: [num_ys, num_xs, tile, tile] row-major, tile (i, j) lies at row ys[i] and column xs[j].
// out:   [row_end - row_begin, width]; may not overlap tiles.
// overlap: length of the cosine ramps, at most tile / 2: weight i along an axis is (1 - cos(pi (i + 1/2) / overlap)) /
// 2
//        for i < overlap, mirrored at the far end, 1 between. A pixel is the weighted mean of the tiles over it.
// Only tiles over the rows asked for matter, so a caller may stream tile rows; the bits do not depend on it, nor on
// num_threads.
// Throws std::invalid_argument if a row or column lies under no tile.
// O(tile pixels used). Weights are separable, so their sums are two 1-D tables and each pixel is written once.
void blend_tiles(const float* tiles, size_t num_ys, size_t num_xs, size_t tile, const int64_t* ys, const int64_t* xs,
                 size_t overlap, int64_t row_begin, int64_t row_end, size_t width, float* out, size_t num_threads);

// Weights of blend_tiles along one axis, divided by their sum at each position: [num_starts, tile], 0 for positions
// outside [begin, end). The weight of a tile's pixel is the product of its row's and its column's.
// Throws std::invalid_argument if a position of [begin, end) lies under no tile; `axis` names it in the message.
void blend_weights(const int64_t* starts, size_t num_starts, size_t tile, size_t overlap, int64_t begin, int64_t end,
                   const char* axis, float* out);

namespace cuda {

// The same on a GPU (cuda.hpp), but for ys and xs, which lie in host memory, are read before the call returns, ascend
// and number at most 1024 each. Out and In: float or Bfloat16. scale, offset: by channel of each image.
template <typename Pixel, typename Out>
void gather_tiles(const Pixel* image, size_t images, size_t channels, size_t height, size_t width, const int64_t* ys,
                  size_t num_ys, const int64_t* xs, size_t num_xs, size_t tile, const float* scale, const float* offset,
                  float low, float high, Out* out, CUstream_st* stream);

// As above; the sum's order is fixed, so the bits do not change between runs. They may differ from the CPU's in the
// last place or two. A row or column under no tile becomes 0: blend_weights() refuses those.
template <typename In>
void blend_tiles(const In* tiles, size_t images, size_t num_ys, size_t num_xs, size_t tile, const int64_t* ys,
                 const int64_t* xs, size_t overlap, int64_t row_begin, int64_t row_end, size_t width, float* out,
                 CUstream_st* stream);

// The transpose of blend_tiles: from [images, row_end - row_begin, width] to [images, num_ys, num_xs, tile, tile], each
// tile's pixel its weight times the image's pixel, 0 outside.
void spread_tiles(const float* image, size_t images, const int64_t* ys, size_t num_ys, const int64_t* xs, size_t num_xs,
                  size_t tile, size_t overlap, int64_t row_begin, int64_t row_end, size_t width, float* out,
                  CUstream_st* stream);

}  // namespace cuda
}  // namespace dinocell
