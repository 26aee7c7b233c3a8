"""Simulation: cocotb benches of the blocks, bus models, whole networks in Verilator, mutants."""

if __name__ != "fqvit_hw.sim":  # under a second name every class would exist twice
    raise ImportError("sim is imported as fqvit_hw.sim, in a checkout and installed alike")
