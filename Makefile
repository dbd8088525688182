SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PREFIX ?= /usr/local
DESTDIR ?=
UNIT = $(PREFIX)/lib/systemd/system/culvert.service

# With Swift's runtime inside, the program runs where no Swift is installed.
RELEASE := swift build --configuration release --static-swift-stdlib
BINARY := .build/release/culvert

# Tests with the speed of a release; other tests have faults injected, which is compiled in for debugging only.
OPTIMIZED := --configuration release -Xswiftc -enable-testing -Xcc -DCULVERT_FAULTS --scratch-path .build/optimized

MINUTES ?= 10

.PHONY: help build install demo lab test test-paths test-ktls test-emulated soak fuzz clean
.PHONY: bench bench-latency bench-streams bench-compression bench-netem bench-migrations bench-guest

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the program, .build/release/culvert
	packaging/dependencies.sh build
	$(RELEASE) --product culvert

$(BINARY):
	$(MAKE) build

install: $(BINARY) ## install it below PREFIX (/usr/local), staged in DESTDIR
	install -D --strip --mode 755 $(BINARY) "$(DESTDIR)$(PREFIX)/bin/culvert"
	install -D --mode 644 packaging/systemd/culvert.service "$(DESTDIR)$(UNIT)"
	sed -i 's|/usr/bin/culvert|$(PREFIX)/bin/culvert|' "$(DESTDIR)$(UNIT)"
	install -D --mode 644 --target-directory "$(DESTDIR)$(PREFIX)/share/doc/culvert" \
		packaging/etc/culvert.yaml packaging/etc/culvert-libvirt.yaml packaging/tmpfiles.d/culvert-libvirt.conf

demo: ## watch a running guest move between two relays on this machine
	packaging/dependencies.sh demo
	$(RELEASE) --product culvert
	CULVERT_BINARY=$(CURDIR)/$(BINARY) packaging/demo

lab: ## two hosts with libvirt and a firewall between them, and a shell to play with them
	packaging/dependencies.sh lab
	$(RELEASE) --product culvert
	CULVERT_BINARY=$(CURDIR)/$(BINARY) packaging/lab/lab play

test: ## run every test: half an hour at most
	packaging/dependencies.sh test
	$(RELEASE) --product culvert
	CULVERT_BINARY=$(CURDIR)/$(BINARY) packaging/test

soak: ## have two relays live through random faults for MINUTES (10), and see whether anything grows
	packaging/dependencies.sh test
	swift build --build-tests
	CULVERT_SOAK=$(MINUTES) swift test --skip-build --filter '^CulvertRelayTests\.SoakTests/'

fuzz: ## look for faults of the protocol core with libFuzzer; ARGS=600: seconds for each of two targets
	swift build --configuration release --package-path Tests/Fuzz
	for target in Decoder Sessions; do \
		ASAN_OPTIONS=detect_leaks=0 Tests/Fuzz/.build/release/Fuzz$$target -max_total_time=$(or $(ARGS),300) -max_len=600 \
			-timeout=20 -artifact_prefix=Tests/Fuzz/Corpus/$$target/fault- Tests/Fuzz/Corpus/$$target; \
	done

test-paths: ## fill simulated paths up to 100 Gb/s and 100 ms; takes a release build and 5 GB of memory
	packaging/dependencies.sh test
	swift build $(OPTIMIZED) --build-tests
	swift test $(OPTIMIZED) --skip-build --filter '^CulvertProtocolTests\.PathTests/'

test-ktls: ## test TLS by the kernel, in an emulated machine
	packaging/dependencies.sh build
	packaging/dependencies.sh emulated
	$(RELEASE) --product culvert
	swift build --build-tests
	CULVERT_BINARY=$(CURDIR)/$(BINARY) CULVERT_TESTS=$(CURDIR)/.build/debug/culvertPackageTests.xctest packaging/test-ktls

test-emulated: ## check in an emulated machine that lanes do what they are for on a lossy road
	packaging/dependencies.sh build
	packaging/dependencies.sh emulated
	for product in culvert culvert-load; do $(RELEASE) --product $$product; done
	bench/netem --check --runs 2 $(ARGS)

bench: bench-tools ## compare with other relays on this machine; ARGS='--help' tells how
	bench/compare $(ARGS)

bench-latency: bench-tools ## time small requests beside a bulk stream, and compare
	bench/latency $(ARGS)

bench-streams: bench-tools ## measure 1 to 10,000 streams: speed, CPU time, memory
	bench/streams $(ARGS)

bench-compression: bench-tools ## measure none, lz4 and auto over shaped links, with the stream of a real guest
	packaging/dependencies.sh emulated
	test -e .build/guest.stream || bench/guest-stream .build/guest.stream
	bench/compression --guest .build/guest.stream $(ARGS)

bench-netem: bench-tools ## compare lanes with TCP on a long, lossy road, in an emulated machine
	packaging/dependencies.sh emulated
	bench/netem $(ARGS)

.PHONY: bench-tools
bench-tools:
	packaging/dependencies.sh bench
	for product in culvert culvert-load culvert-floor; do $(RELEASE) --product $$product; done

bench-migrations: ## move a guest by libvirt in several ways and compare; ARGS='--help' tells how
	packaging/dependencies.sh lab
	$(RELEASE) --product culvert
	CULVERT_BINARY=$(CURDIR)/$(BINARY) bench/migrations $(ARGS)

bench-guest: bench-tools ## move a paused guest's 2 GiB in plaintext, by QEMU's TLS and through relays, and compare
	packaging/dependencies.sh demo
	bench/guest $(ARGS)

clean: ## remove what was built
	rm -rf .build
