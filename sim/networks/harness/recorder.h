// What the trace ports show: every value that a unit makes, in order, and the array's states.
// Without trace ports (TRACE 0) it does nothing.
#pragma once

#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "base.h"

class Recorder {
public:
    // Files epilogue.i32, codes.u8 and norm.i8 in `folder`, runs one after another.
    explicit Recorder(const std::string& folder) {
#if TRACE
        epilogue_.open(folder + "/epilogue.i32");
        codes_.open(folder + "/codes.u8");
        norm_.open(folder + "/norm.i8");
#else
        (void)folder;
#endif
    }

    void reset() {
        array.clear();
        epilogue_.count = codes_.count = norm_.count = 0;
    }

    void sample(const Top& top) {
#if TRACE
        if (top.trace_epilogue_valid)
            for (int lane = 0; lane < LANES; lane++)
                if (top.trace_epilogue_mask >> lane & 1)
                    epilogue_.write(bytes(top.trace_epilogue_data) + 4 * lane, 4);
        if (top.trace_codes_valid)
            for (int lane = 0; lane < LANES; lane++)
                if (top.trace_codes_mask >> lane & 1) {
                    uint8_t code = 0;
                    for (unsigned n = 0; n < CODE_BITS; n++) {
                        const unsigned bit = lane * CODE_BITS + n;
                        code |= (bytes(top.trace_codes_data)[bit / 8] >> bit % 8 & 1) << n;
                    }
                    codes_.write(&code, 1);
                }
        if (top.trace_norm_valid)
            for (int lane = 0; lane < NORM_LANES; lane++)
                if (top.trace_norm_mask >> lane & 1)
                    norm_.write(bytes(top.trace_norm_data) + lane, 1);
        const unsigned gemm = top.trace_array_count;
        if (gemm >= array.size()) array.resize(gemm + 1);
        array[gemm][top.trace_array_state]++;
#else
        (void)top;
#endif
    }

    uint64_t epilogue_count() const { return epilogue_.count; }
    uint64_t codes_count() const { return codes_.count; }
    uint64_t norm_count() const { return norm_.count; }

    std::vector<std::array<uint64_t, 8>> array;  // cycles of this run by GEMM and state

private:
    struct File {
        std::FILE* file = nullptr;
        uint64_t count = 0;  // values in this run
        void open(const std::string& name) {
            file = std::fopen(name.c_str(), "wb");
            if (!file) throw std::runtime_error("cannot write " + name);
        }
        void write(const uint8_t* value, size_t size) {
            std::fwrite(value, 1, size, file);
            count++;
        }
        ~File() {
            if (file) std::fclose(file);
        }
    };
    File epilogue_, codes_, norm_;
};
