# Every target first brings the machine to where it has to be (tools/setup: idempotent, quick when there is nothing to do).
.PHONY: help setup build install demo test bench core-only fuzz format clean
BUILD := build/release

help:
	@echo 'make demo       build, then see task vectors at work (docs/results.md says what to expect)'
	@echo 'make test       build everything, run every check'
	@echo 'make build      $(BUILD)/taskvec'
	@echo 'make install    the program for every user (PREFIX=$$HOME/.local: for you alone)'
	@echo 'make core-only  build and test the part that needs no libtorch'
	@echo 'make bench      speed and memory beside the floor and beside other programs, as ratios'
	@echo 'make fuzz       every parser of files against hostile bytes, SECONDS=60 each'
	@echo 'make format     clang-format on every file'
	@echo 'make setup      only the set-up: packages, libtorch, data sets, fonts'

setup:
	@tools/setup

build: setup
	@cmake --preset release --log-level=WARNING >/dev/null
	@cmake --build --preset release --target taskvec

install: build
	@cmake --install $(BUILD) --prefix $(or $(PREFIX),/usr/local) >/dev/null
	@echo 'installed $(or $(PREFIX),/usr/local)/bin/taskvec'

demo: build
	$(BUILD)/taskvec demo

test:
	@tools/setup --test
	@cmake --preset release --log-level=WARNING >/dev/null
	@cmake --build --preset release
	@ctest --preset release -LE slow

bench:
	@tools/setup --test
	@cmake --preset release --log-level=WARNING >/dev/null
	@cmake --build --preset release --target taskvec bench_core bench_torch
	@bench/run $(BUILD) --json $(BUILD)/bench.json

core-only:
	@tools/setup --core
	@cmake --preset core-only --log-level=WARNING >/dev/null
	@cmake --build --preset core-only
	@ctest --preset core-only -LE slow

fuzz:
	@tools/setup --fuzz
	@cmake --preset fuzz --log-level=WARNING >/dev/null
	@cmake --build --preset fuzz --target fuzz
	@fuzz/run build/fuzz $(or $(SECONDS),60)

format:
	@git ls-files -co --exclude-standard -- '*.h' '*.cpp' | xargs clang-format -i

clean:
	rm -rf build
