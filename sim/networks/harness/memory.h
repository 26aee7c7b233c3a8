// The memory on the accelerator's AXI4 port, and the check that the port keeps AXI's rules.
//
// One beat a cycle each way, any number of bursts under way, answers in order. AXI says nothing
// about a read and a write under way at once, so neither may the machine rely on anything: with an
// even seed a read takes its data when it is asked for and a write lands when it is acknowledged,
// with an odd seed a read takes its data when it is answered and a write lands with its beat.
#pragma once

#include <array>
#include <deque>
#include <tuple>
#include <vector>

#include "base.h"

class Memory {
public:
    using Range = std::pair<uint64_t, uint64_t>;  // first byte and end, in the memory map

    // content: the memory map; writable: where the machine has business to write.
    Memory(std::vector<uint8_t> content, std::vector<Range> writable);

    // Before a run; nothing may be under way. The memory map begins at bus address `base`.
    void reset(const Timing& timing, uint64_t base);
    void drive(Top& top);
    void sample(const Top& top);

    // Has everything been answered?
    bool quiet() const { return reads_.empty() && writes_quiet(); }
    bool writes_quiet() const { return writes_.empty() && beats_.empty() && answers_.empty(); }

    std::vector<uint8_t> content;
    uint64_t bytes_read = 0, bytes_written = 0;  // since reset

private:
    using Data = std::array<uint8_t, BUS_BYTES>;
    using Address = std::tuple<uint64_t, unsigned, unsigned, unsigned>;  // addr, len, size, burst
    struct Burst {
        uint64_t at;       // of the next beat, in `content`
        unsigned beats;    // still to come
        uint64_t due;      // the first cycle in which it may be answered
        std::vector<uint8_t> early;  // a read's data, if taken when asked for
    };
    struct Beat {
        Data data;
        uint64_t strobe;
        bool last;
    };

    Burst accept(const char* channel, const Address& address) const;
    void expect_writable(const Burst& burst) const;
    void take_write_beat();
    void land(uint64_t at, const Beat& beat);

    const std::vector<Range> writable_;
    uint64_t base_ = 0;
    Timing timing_{1, 0, 0, 0};
    Dice dice_;
    uint64_t now_ = 0;
    uint64_t paused_until_ = 0;  // the first cycle in which W may be ready
    std::deque<Burst> reads_;
    bool offering_read_ = false;    // RVALID, until taken
    std::deque<Burst> writes_;      // whose beats have not all come
    std::deque<Beat> beats_;        // that came before their address, or wait for their turn
    std::vector<std::pair<uint64_t, Beat>> unlanded_;  // of the burst at hand
    struct Answer {
        uint64_t due;
        std::vector<std::pair<uint64_t, Beat>> beats;  // that land when it is taken
    };
    std::deque<Answer> answers_;
    bool offering_answer_ = false;  // BVALID, until taken
    Stable<Address> ar_, aw_;
    Stable<std::tuple<Data, uint64_t, bool>> w_;
};
