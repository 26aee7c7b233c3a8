#include "memory.h"

#include <cstdio>
#include <cstring>

static std::string hex(uint64_t value) {
    char text[19];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

Memory::Memory(std::vector<uint8_t> bytes, std::vector<Range> writable)
    : content(std::move(bytes)), writable_(std::move(writable)) {}

void Memory::reset(const Timing& timing, uint64_t base) {
    timing_ = timing;
    base_ = base;
    dice_.reset(timing, 0);
    bytes_read = bytes_written = 0;
}

void Memory::drive(Top& top) {
    top.m_axi_arready = !dice_.stall();
    top.m_axi_awready = !dice_.stall();
    top.m_axi_wready = !dice_.stall() && now_ >= paused_until_;

    const bool read_due = !reads_.empty() && now_ >= reads_.front().due;
    offering_read_ = offering_read_ || (read_due && !dice_.stall());
    top.m_axi_rvalid = offering_read_;
    top.m_axi_rresp = 0;
    if (offering_read_) {
        const Burst& burst = reads_.front();
        const uint8_t* from = content.data() + burst.at;
        if (!burst.early.empty())
            from = burst.early.data() + burst.early.size() - burst.beats * BUS_BYTES;
        std::memcpy(&top.m_axi_rdata, from, BUS_BYTES);
        top.m_axi_rlast = burst.beats == 1;
    } else {  // what is not valid is not data: nonsense, that a careless machine would take
        std::memset(&top.m_axi_rdata, 0xA5, BUS_BYTES);
        top.m_axi_rlast = 0;
    }

    const bool answer_due = !answers_.empty() && now_ >= answers_.front().due;
    offering_answer_ = offering_answer_ || (answer_due && !dice_.stall());
    top.m_axi_bvalid = offering_answer_;
    top.m_axi_bresp = 0;
}

void Memory::sample(const Top& top) {
    const Address ar{top.m_axi_araddr, top.m_axi_arlen, top.m_axi_arsize, top.m_axi_arburst};
    const Address aw{top.m_axi_awaddr, top.m_axi_awlen, top.m_axi_awsize, top.m_axi_awburst};
    Beat w;
    std::memcpy(w.data.data(), &top.m_axi_wdata, BUS_BYTES);
    w.strobe = top.m_axi_wstrb;
    w.last = top.m_axi_wlast;
    ar_.check("AR", top.m_axi_arvalid, top.m_axi_arready, ar);
    aw_.check("AW", top.m_axi_awvalid, top.m_axi_awready, aw);
    w_.check("W", top.m_axi_wvalid, top.m_axi_wready, {w.data, w.strobe, w.last});

    if (top.m_axi_rvalid && top.m_axi_rready) {
        Burst& burst = reads_.front();
        burst.at += BUS_BYTES;
        bytes_read += BUS_BYTES;
        if (--burst.beats == 0) reads_.pop_front();
        offering_read_ = false;
    }
    if (top.m_axi_bvalid && top.m_axi_bready) {
        for (const auto& [at, beat] : answers_.front().beats) land(at, beat);
        answers_.pop_front();
        offering_answer_ = false;
    }
    if (top.m_axi_arvalid && top.m_axi_arready) {
        Burst burst = accept("AR", ar);
        if (timing_.seed % 2 == 0) {
            const auto from = content.begin() + burst.at;
            burst.early.assign(from, from + burst.beats * BUS_BYTES);
        }
        reads_.push_back(std::move(burst));
    }
    if (top.m_axi_awvalid && top.m_axi_awready) {
        writes_.push_back(accept("AW", aw));
        expect_writable(writes_.back());
    }
    if (top.m_axi_wvalid && top.m_axi_wready) {
        beats_.push_back(w);
        paused_until_ = now_ + 1 + timing_.pause;
    }
    take_write_beat();
    now_++;
}

// A burst as AXI and docs/accelerator.md allow it, or a Failure that says what is wrong with it.
Memory::Burst Memory::accept(const char* channel, const Address& address) const {
    const auto [addr, len, size, type] = address;
    const unsigned beats = len + 1, bytes = beats * BUS_BYTES;
    const std::string what = std::string(channel) + " " + hex(addr) + ", " +
                             std::to_string(beats) + " beats: ";
    if (type != 1) throw Failure(what + "not INCR");
    if (1u << size != BUS_BYTES) throw Failure(what + "a size that is not the bus");
    if (addr % BUS_BYTES) throw Failure(what + "not a multiple of the bus");
    if (addr / 4096 != (addr + bytes - 1) / 4096) throw Failure(what + "across 4 KiB");
    if (addr / BURST_BYTES != (addr + bytes - 1) / BURST_BYTES)
        throw Failure(what + "across a multiple of " + std::to_string(BURST_BYTES));
    if (addr < base_ || addr + bytes > base_ + content.size())
        throw Failure(what + "outside the memory map");
    return {addr - base_, beats, now_ + timing_.latency, {}};
}

void Memory::expect_writable(const Burst& burst) const {
    for (const auto& [first, end] : writable_)
        if (first <= burst.at && burst.at + burst.beats * BUS_BYTES <= end) return;
    throw Failure("AW " + hex(base_ + burst.at) + ": nothing is to be written there");
}

// Brings a beat together with its burst; beats may come before their address.
void Memory::take_write_beat() {
    if (writes_.empty() || beats_.empty()) return;
    Burst& burst = writes_.front();
    const Beat beat = beats_.front();
    beats_.pop_front();
    if (beat.last != (burst.beats == 1))
        throw Failure("W: WLAST with " + std::to_string(burst.beats) + " beats still to come");
    for (unsigned n = 0; n < BUS_BYTES; n++) bytes_written += beat.strobe >> n & 1;
    if (timing_.seed % 2 == 0)
        unlanded_.emplace_back(burst.at, beat);
    else
        land(burst.at, beat);
    burst.at += BUS_BYTES;
    if (--burst.beats == 0) {
        writes_.pop_front();
        answers_.push_back({now_ + timing_.latency, std::move(unlanded_)});
        unlanded_.clear();
    }
}

void Memory::land(uint64_t at, const Beat& beat) {
    for (unsigned n = 0; n < BUS_BYTES; n++)
        if (beat.strobe >> n & 1) content[at + n] = beat.data[n];
}
