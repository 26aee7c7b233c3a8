# Everything the kit does, as one-word targets. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup sim sim-net sim-deit perf mutants test test-slow golden accuracy bench verilog synth timing pnr asic energy readme lint clean

# These choose what a target does; they are passed on as options, never through the environment.
unexport WAVES BLOCK CONFIG CASE SIZE ARGS NETWORK IMAGES TRACE MODEL WEIGHTS IMAGE ONLY CLOCK HISTORY TARGET
PYTHON := .venv/bin/python
RTL := .ci/setup rtl
CELLS := qflow-tech-osu018:/usr/share/qflow/tech/osu018/osu018_stdcells.lib

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## create .venv with everything, install what the system lacks
	@.ci/setup all iverilog verilator g++

sim: ## all benches on Icarus Verilog [BLOCK= CONFIG= CASE= SIZE=small WAVES=1]
	@$(RTL) iverilog
	@.venv/bin/fqvit-hw golden
	@$(PYTHON) -m fqvit_hw.sim $(if $(BLOCK),--block $(BLOCK)) $(if $(CONFIG),--config $(CONFIG)) \
	    $(if $(CASE),--case '$(CASE)') $(if $(SIZE),--size $(SIZE)) $(if $(WAVES),--waves)

sim-net: ## the built-in network on the whole accelerator [CONFIG= NETWORK=FILE IMAGES=N TRACE=1]
	@$(RTL) verilator g++
	@$(PYTHON) -m fqvit_hw.sim.networks $(if $(CONFIG),--config $(CONFIG),--config tiny --config base) \
	    $(if $(NETWORK),--network '$(NETWORK)') $(if $(IMAGES),--images $(IMAGES)) $(if $(TRACE),--trace)

sim-deit: ## DeiT-Tiny, one image [MODEL=deit_small|vit_base WEIGHTS=FILE IMAGE=FILE CONFIG= TRACE=1]
	@.ci/setup all verilator g++
	@$(PYTHON) -m fqvit_hw.sim.networks --model $(or $(MODEL),deit_tiny) --config $(or $(CONFIG),base) \
	    $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(if $(IMAGE),--image '$(IMAGE)') $(if $(TRACE),--trace)

perf: ## cycles, utilization and bytes of every configuration [NETWORK= CONFIG= WEIGHTS=FILE CLOCK=MHZ]
	@.ci/setup all verilator g++
	@$(PYTHON) -m fqvit_hw.sim.perf $(if $(NETWORK)$(CONFIG),,--all) $(if $(NETWORK),--network '$(NETWORK)') \
	    $(if $(CONFIG),--config $(CONFIG)) $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(if $(CLOCK),--clock $(CLOCK))

mutants: ## is every wrong operator in the RTL noticed? [ONLY=name]
	@.ci/setup all verilator g++
	@$(PYTHON) -m fqvit_hw.sim.mutants $(if $(ONLY),--only $(ONLY))

test: setup ## all tests, benches at small sizes [ARGS= for pytest]
	$(PYTHON) -m pytest -n 2 --dist worksteal -m "not slow" $(ARGS)

test-slow: setup ## the heavy tests: eight models at full size, DeiT-Tiny on real images [ARGS=]
	$(PYTHON) -m pytest -m slow $(ARGS)

golden: ## write the golden vectors again: no byte may change
	@$(RTL)
	@.venv/bin/fqvit-hw golden

accuracy: ## float against integer top-1 of the built-in network
	@.ci/setup all gcc
	@.venv/bin/fqvit-hw accuracy --model digits --json build/accuracy.json --png build/accuracy.png

bench: ## engines against float32, side by side [ARGS= for benchmarks/throughput.py]
	@.ci/setup all gcc
	@$(PYTHON) benchmarks/throughput.py --json build/throughput.json $(ARGS)

verilog: ## Verilog of every block in build/verilog [BLOCK= CONFIG=]
	@$(RTL) iverilog verilator
	@.venv/bin/fqvit-hw verilog $(if $(BLOCK),--block $(BLOCK)) $(if $(CONFIG),--config $(CONFIG))

synth: ## resources on ECP5 and Xilinx 7-series, by Yosys [BLOCK= CONFIG= TARGET=ecp5|xc7|xcup]
	@$(RTL)
	@$(PYTHON) -m fqvit_hw.rtl.flow.synth $(if $(BLOCK),--block $(BLOCK)) $(if $(CONFIG),--config $(CONFIG)) \
	    $(if $(TARGET),--target $(TARGET))

timing: ## the clock estimated from the mapped netlist [BLOCK= CONFIG= HISTORY=FILE ARGS=--paths]
	@$(RTL)
	@$(PYTHON) -m fqvit_hw.rtl.flow.timing $(if $(BLOCK),--block $(BLOCK)) $(if $(CONFIG),--config $(CONFIG)) \
	    $(if $(HISTORY),--history '$(HISTORY)') $(ARGS)

pnr: ## Fmax and bitstream: an ECP5-85k, slow [BLOCK= CONFIG= ARGS="--seed 1 2 3 --tmg-ripup"]
	@$(RTL)
	@$(PYTHON) -m fqvit_hw.rtl.flow.pnr $(if $(BLOCK),--block $(BLOCK)) $(if $(CONFIG),--config $(CONFIG)) $(ARGS)

asic: ## area and clock on standard cells of 0.18 um, before layout [BLOCK= CONFIG= ARGS=--bitshift]
	@$(RTL) opensta:sta $(CELLS)
	@$(PYTHON) -m fqvit_hw.rtl.flow.asic $(if $(BLOCK),--block $(BLOCK)) $(if $(CONFIG),--config $(CONFIG)) $(ARGS)

energy: ## of an image on these cells, from the toggles of the mapped accelerator [CONFIG=]
	@.ci/setup rtl verilator g++ opensta:sta $(CELLS)
	@$(PYTHON) -m fqvit_hw.sim.perf.energy $(if $(CONFIG),--config $(CONFIG))

readme: ## write the figures of README.md and docs/ again, from docs/results
	@$(RTL)
	@$(PYTHON) docs/readme.py

lint: setup ## ruff, pyright and the Verilog lint
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m pyright
	.venv/bin/fqvit-hw verilog

clean: ## remove what the targets made; .venv stays
	rm -rf build .pytest_cache .ruff_cache
