// Included inside the namespace of an instruction set.
#include "simd.inl"

// Clip as two comparisons that are false for NaN, so NaN passes.
template <typename Pixel>
inline void scale_row(const Pixel* row, size_t count, const Scaling& scaling, float* out) {
    const auto [scale, offset, low, high] = scaling;
    for (size_t x = 0; x < count; ++x) {
        const float value = static_cast<float>(row[x]) * scale + offset;
        const float raised = low > value ? low : value;
        out[x] = high < raised ? high : raised;
    }
}

// The nearest bfloat16, ties to even; NaN stays NaN.
inline void round_row(const float* row, size_t count, uint16_t* out) {
    for (size_t x = 0; x < count; ++x) {
        const auto bits = std::bit_cast<uint32_t>(row[x]);
        const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
        out[x] = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16 | 0x40u) : rounded);
    }
}

// Writes consecutive pieces to consecutive memory in whole cache lines past the caches: lines that are overwritten need
// not be fetched, and what is not read soon displaces nothing.
class Stream {
  public:
    explicit Stream(void* to)
        : held_(reinterpret_cast<uintptr_t>(to) % 64), skipped_(held_), line_(static_cast<char*>(to) - held_) {}
    ~Stream() {
        if (held_ > skipped_) std::memcpy(line_ + skipped_, buffer_ + skipped_, held_ - skipped_);
#if DINOCELL_X86
        _mm_sfence();  // what was streamed becomes visible to other threads
#endif
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    // Room for kPiece bytes more, to be filled and then confirmed by wrote().
    static constexpr size_t kPiece = 4096;
    void* room() { return buffer_ + held_; }
    void wrote(size_t bytes) {
        held_ += bytes;
        size_t at = 0;
        if (skipped_ > 0 && held_ >= 64) {
            std::memcpy(line_ + skipped_, buffer_ + skipped_, 64 - skipped_);
            skipped_ = 0;
            at = 64;
        }
        for (; at + 64 <= held_; at += 64) write_line(buffer_ + at, line_ + at);
        std::memmove(buffer_, buffer_ + at, held_ - at);
        held_ -= at;
        line_ += at;
    }

  private:
    static void write_line(const char* from, char* to) {
#if DINOCELL_AVX512
        _mm512_stream_si512(reinterpret_cast<__m512i*>(to), load512(from));
#elif DINOCELL_X86
        for (size_t i = 0; i < 64; i += 16)
            _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                             _mm_load_si128(reinterpret_cast<const __m128i*>(from + i)));
#else
        std::memcpy(to, from, 64);
#endif
    }

    size_t held_;     // bytes in the buffer, which stands for memory from line_ on
    size_t skipped_;  // bytes of the first line that are not ours
    char* line_;
    alignas(64) char buffer_[64 + kPiece];
};

// out[x] = sum over the sources of pixels[x] * (weights[x] * row_weight), in their order.
inline void blend_segment(const BlendSource* sources, size_t num_sources, size_t count, float* __restrict out) {
    const BlendSource& a = sources[0];
    if (num_sources == 1) {
        for (size_t x = 0; x < count; ++x) out[x] = a.pixels[x] * (a.weights[x] * a.row_weight);
        return;
    }
    const BlendSource& b = sources[1];
    if (num_sources == 4) {
        const BlendSource &c = sources[2], &d = sources[3];
        for (size_t x = 0; x < count; ++x) {
            const float first = a.pixels[x] * (a.weights[x] * a.row_weight) + b.pixels[x] * (b.weights[x] * b.row_weight);
            out[x] = first + c.pixels[x] * (c.weights[x] * c.row_weight) + d.pixels[x] * (d.weights[x] * d.row_weight);
        }
        return;
    }
    for (size_t x = 0; x < count; ++x)
        out[x] = a.pixels[x] * (a.weights[x] * a.row_weight) + b.pixels[x] * (b.weights[x] * b.row_weight);
    for (size_t i = 2; i < num_sources; ++i) {
        const BlendSource& more = sources[i];
        for (size_t x = 0; x < count; ++x) out[x] += more.pixels[x] * (more.weights[x] * more.row_weight);
    }
}

// One tile of one channel; row_of(y) gives its source rows, already mirrored.
template <typename Pixel, typename Out, typename RowOf>
void gather_tile(const RowOf& row_of, size_t tile, const Scaling& scaling, bool streaming, Out* out) {
    constexpr size_t kPiece = Stream::kPiece / sizeof(float);
    const auto convert = [&](const Pixel* row, size_t count, Out* to) __attribute__((always_inline)) {
        if constexpr (std::is_same_v<Out, float>) {
            scale_row(row, count, scaling, to);
        } else {
            alignas(64) float scaled[kPiece];
            scale_row(row, count, scaling, scaled);
            round_row(scaled, count, to);
        }
    };
    const auto for_each_piece = [&](const auto& visit) __attribute__((always_inline)) {
        for (size_t y = 0; y < tile; ++y) {
            const Pixel* row = row_of(y);
            for (size_t x = 0; x < tile; x += kPiece) visit(row + x, std::min(kPiece, tile - x), y * tile + x);
        }
    };
    if (!streaming) {
        for_each_piece([&](const Pixel* row, size_t count, size_t at) { convert(row, count, out + at); });
        return;
    }
    Stream stream(out);
    for_each_piece([&](const Pixel* row, size_t count, size_t) {
        convert(row, count, static_cast<Out*>(stream.room()));
        stream.wrote(count * sizeof(Out));
    });
}

// A finished row goes past the caches.
inline void stream_row(const float* row, size_t count, float* out) {
    Stream stream(out);
    constexpr size_t kPiece = Stream::kPiece / sizeof(float);
    for (size_t x = 0; x < count; x += kPiece) {
        const size_t piece = std::min(kPiece, count - x);
        std::memcpy(stream.room(), row + x, piece * sizeof(float));
        stream.wrote(piece * sizeof(float));
    }
}
