# What you can do here: `make` lists it. Every target sets up the machine first; that takes a moment once, then nothing.

SWIFT ?= swift
RELEASE = --configuration release --static-swift-stdlib

.DEFAULT_GOAL := help
.PHONY: help setup run build test bench lint format clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what the build and the tests need (Debian packages)
	@scripts/setup

run: build ## build, then serve config/examples/hello on http://hello.default.localhost:8080/
	@exec .build/release/martlet run config/examples/hello

build: setup ## build martlet and martlet-queue in .build/release
	@$(SWIFT) build $(RELEASE)

test: setup ## check the import direction, lint, what a request costs, and run every test
	@scripts/test

lint: setup ## check the format of every Swift file
	@scripts/lint

format: setup ## format every Swift file
	@$(SWIFT) format --in-place --recursive --parallel Sources Tests Benchmarks Package.swift

bench: build ## compare with other proxies, measure cold starts (an hour); writes perf/results/<commit>.html
	@scripts/setup bench
	@scripts/bench

clean: ## remove everything that was built
	@rm -rf .build Benchmarks/run
