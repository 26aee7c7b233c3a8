"""Amaranth RTL: parts, the blocks made of them, the accelerator, and the flow from it to a chip."""

if __name__ != "fqvit_hw.rtl":  # under a second name every class would exist twice
    raise ImportError("rtl is imported as fqvit_hw.rtl, in a checkout and installed alike")
