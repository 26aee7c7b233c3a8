// The host's side of the AXI4-Lite port: one access at a time, stalled like everything else.
#pragma once

#include <tuple>

#include "base.h"

class Registers {
public:
    void reset(const Timing& timing) { dice_.reset(timing, 1); }

    void ask_read(unsigned offset) {
        offset_ = offset;
        address_read_ = data_read_ = true;
    }
    void ask_write(unsigned offset, uint32_t value) {
        offset_ = offset;
        value_ = value;
        address_written_ = data_written_ = answered_ = true;
    }
    bool busy() const { return data_read_ || answered_; }
    uint32_t value() const { return value_; }

    void drive(Top& top) {
        // A valid, once shown, stays; a ready may come and go.
        top.s_axil_awaddr = top.s_axil_araddr = offset_;
        top.s_axil_wdata = value_;
        top.s_axil_wstrb = 15;
        top.s_axil_awvalid = address_written_ && (top.s_axil_awvalid || !dice_.stall());
        top.s_axil_wvalid = data_written_ && (top.s_axil_wvalid || !dice_.stall());
        top.s_axil_arvalid = address_read_ && (top.s_axil_arvalid || !dice_.stall());
        top.s_axil_bready = answered_ && !dice_.stall();
        top.s_axil_rready = data_read_ && !dice_.stall();
    }

    void sample(const Top& top) {
        b_.check("AXI-Lite B", top.s_axil_bvalid, top.s_axil_bready, top.s_axil_bresp);
        r_.check("AXI-Lite R", top.s_axil_rvalid, top.s_axil_rready,
                 {top.s_axil_rdata, top.s_axil_rresp});
        if (top.s_axil_bvalid && (!answered_ || address_written_ || data_written_))
            throw Failure("AXI-Lite B: an answer before the write");
        if (top.s_axil_rvalid && (!data_read_ || address_read_))
            throw Failure("AXI-Lite R: an answer before the read");
        if (top.s_axil_awvalid && top.s_axil_awready) address_written_ = false;
        if (top.s_axil_wvalid && top.s_axil_wready) data_written_ = false;
        if (top.s_axil_arvalid && top.s_axil_arready) address_read_ = false;
        if (top.s_axil_bvalid && top.s_axil_bready) {
            if (top.s_axil_bresp) throw Failure("AXI-Lite B: an error response");
            answered_ = false;
        }
        if (top.s_axil_rvalid && top.s_axil_rready) {
            if (top.s_axil_rresp) throw Failure("AXI-Lite R: an error response");
            value_ = top.s_axil_rdata;
            data_read_ = false;
        }
    }

private:
    Dice dice_;
    unsigned offset_ = 0;
    uint32_t value_ = 0;
    // what is still to come of the access at hand, a channel each
    bool address_read_ = false, data_read_ = false;
    bool address_written_ = false, data_written_ = false, answered_ = false;
    Stable<unsigned> b_;
    Stable<std::tuple<uint32_t, unsigned>> r_;
};
