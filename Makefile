# Turbine. Needs Go and make; CONTRIBUTING.md says what else the tests need.

FUZZTIME ?= 30s
SOAKTIME ?= 20m
GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
NFPM_VERSION := v2.45.2
CYCLONEDX_VERSION := v1.10.0
VULNDB ?= https://vuln.go.dev
CLIENTS := internal/e2e/clients
BROWSER := internal/e2e/browser
AUTOBAHN := internal/e2e/autobahn
MIGRATION := examples/migration/node
CHROMIUM ?= chromium
export CHROMIUM
NGINX ?= nginx
HAPROXY ?= haproxy
CADDY ?= caddy
export NGINX HAPROXY CADDY
PROMETHEUS ?= prometheus
PROMTOOL ?= promtool
export PROMETHEUS PROMTOOL
# The profile of the program says what is inlined. With it, all packages are compiled
# twice, for the program and for the rest, which the tests and checks need not.
vet cross unit race bench-race e2e autobahn lint vuln: export GOFLAGS := $(shell go env GOFLAGS) -pgo=off
THIS := $(shell go env GOOS)/$(shell go env GOARCH)
# What the event loop compiles for (package loop is the only one that cares).
TARGETS := linux/amd64 linux/arm64 linux/386 darwin/arm64 darwin/amd64 freebsd/amd64
# What a release is built for, and of.
DIST_TARGETS := linux/amd64 linux/arm64 darwin/arm64 freebsd/amd64
VERSION ?= 0.0.0-dev.$(shell git rev-list --count HEAD)
DIST = go run ./internal/dist --version $(VERSION) --commit $(shell git rev-parse --short=12 HEAD) --date $(shell git log -1 --format=%ct) --nfpm .tools/nfpm-$(NFPM_VERSION)

.PHONY: test check help chromium proxies prometheus modules autobahn-suite build run cluster chat dist package setup fmt vet cross unit race bench-race e2e autobahn conformance examples examples-race lint tidy vuln chaos fuzz soak bench bench-quick bench-sim bench-million bench-micro pgo nightly cover clean

# Whether the program works: installs what the tests need, runs unit, e2e and examples.
# They run side by side: some compile while others install, or wait for a peer.
test:
	@$(MAKE) -j4 unit e2e examples

# All other checks: races, linters, vulnerabilities, other systems, Autobahn, the package, tidiness.
# The race pass takes longest, so it begins first, beside one after another of the others.
check:
	@$(MAKE) -j2 race fmt tidy vet cross bench-race lint vuln package examples-race autobahn

# This list.
help:
	@awk '/^# /{if (!said) said = substr($$0, 3)} /^[a-z0-9-]+:/{if (said) printf "%-14s %s\n", substr($$1, 1, index($$1, ":") - 1), said} !/^# /{said = ""}' $(firstword $(MAKEFILE_LIST))

# The program, ./turbine.
build:
	go build -o turbine .

# Serves on :3000; ARGS are its flags: make run ARGS="--addr :8080 --app broadcast"
run: build
	./turbine $(ARGS)

define BALANCER
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
    retry-on conn-failure
    option redispatch 1
frontend web
    bind 127.0.0.1:3000
    option forwardfor
    default_backend turbine
backend turbine
    balance roundrobin
    http-reuse always
    option httpchk GET /healthz
    server node-1 127.0.0.1:4001 check inter 1s
    server node-2 127.0.0.1:4002 check inter 1s
    server node-3 127.0.0.1:4003 check inter 1s
endef
cluster: export BALANCER := $(BALANCER)
# Three nodes of a cluster behind haproxy on :3000, without sticky sessions, until Ctrl-C.
# The status page of the first is http://127.0.0.1:4011/.
cluster: build
	@dir=$$(mktemp -d); pids=; \
	end() { kill $$pids 2>/dev/null; wait; rm -rf "$$dir"; }; trap end EXIT; trap 'exit 0' INT TERM; \
	echo "$$BALANCER" > $$dir/haproxy.cfg; \
	for n in 1 2 3; do \
		./turbine --cluster demo --cluster-join 127.0.0.1:6222 --node-name node-$$n --addr 127.0.0.1:400$$n --ops-addr 127.0.0.1:401$$n \
			--health-path /healthz --trusted-proxy 127.0.0.1 $(ARGS) & pids="$$pids $$!"; \
	done; \
	$(HAPROXY) -f $$dir/haproxy.cfg & pids="$$pids $$!"; \
	echo "clients: http://127.0.0.1:3000/engine.io/   status page: http://127.0.0.1:4011/   end: Ctrl-C"; \
	wait

# The chat of examples with its page, on :3000: open http://localhost:3000 in two windows.
chat:
	cd examples && go run ./chat $(ARGS)

# What a release consists of, into dist/: make dist VERSION=1.2.3
# Static binaries in archives, deb, rpm, checksums, and what each binary is made of (CycloneDX).
dist: .tools/nfpm-$(NFPM_VERSION) .tools/cyclonedx-gomod-$(CYCLONEDX_VERSION)
	$(DIST) --sbom .tools/cyclonedx-gomod-$(CYCLONEDX_VERSION) $(DIST_TARGETS)

# The deb for this machine, which as root is installed, started, upgraded and removed
# under a systemd of its own, on a copy of this machine's files that is thrown away.
package: .tools/nfpm-$(NFPM_VERSION)
	$(DIST) --out .tools/package --bare --formats deb --build=-pgo=off linux/$$(go env GOARCH)
	go test -vet=off -count=1 -timeout 5m -run '^TestDeb$$' ./internal/dist -deb $(CURDIR)/.tools/package

# Installs what the tests need: modules, clients, a browser, proxies, Prometheus.
setup: chromium proxies prometheus modules $(CLIENTS)/node_modules/.package-lock.json $(BROWSER)/node_modules/.package-lock.json $(MIGRATION)/node_modules/.package-lock.json

# Downloads the modules of each go.mod that the tests need.
modules:
	go mod download
	cd internal/e2e/mounts && go mod download
	cd examples && go mod download
	cd bench && go mod download

$(BROWSER)/node_modules/.package-lock.json: $(BROWSER)/package-lock.json
	cd $(BROWSER) && npm ci --no-audit --no-fund
	@touch $@

$(MIGRATION)/node_modules/.package-lock.json: $(MIGRATION)/package-lock.json
	cd $(MIGRATION) && npm ci --no-audit --no-fund
	@touch $@

# Installs Chromium. Where it cannot be installed, TestBrowser says what to do.
chromium:
	@command -v "$(CHROMIUM)" >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core; \
	} || echo "no browser: install chromium or set CHROMIUM"

# Installs the proxies. Where they cannot be installed, TestProxy... say what to do.
# After chromium: apt-get runs once at a time.
proxies: | chromium
	@{ PATH="$$PATH:/usr/sbin"; command -v "$(NGINX)" && command -v "$(HAPROXY)" && command -v "$(CADDY)"; } >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		apt-get update && apt-get install -y --no-install-recommends nginx-light haproxy caddy; \
	} || echo "no proxies: install nginx, haproxy and caddy or set NGINX, HAPROXY and CADDY"

# Installs Prometheus. Where it cannot be installed, the tests of docs/monitoring say what to do.
# After proxies, for the same reason.
prometheus: | proxies
	@{ command -v "$(PROMETHEUS)" && command -v "$(PROMTOOL)"; } >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		apt-get update && apt-get install -y --no-install-recommends prometheus; \
	} || echo "no Prometheus: install prometheus or set PROMETHEUS and PROMTOOL"

# Installs the Autobahn|Testsuite. Where it cannot be installed, TestAutobahn says what to do.
autobahn-suite: .tools/autobahn/requirements.txt

.tools/autobahn/requirements.txt: $(AUTOBAHN)/requirements.txt $(AUTOBAHN)/install.sh
	@$(AUTOBAHN)/install.sh .tools/autobahn || echo "no Autobahn|Testsuite"

$(CLIENTS)/node_modules/.package-lock.json: $(CLIENTS)/package-lock.json
	cd $(CLIENTS) && npm ci --no-audit --no-fund
	@touch $@

# Is all code gofmt-ed?
fmt:
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not gofmt-ed:"; echo "$$unformatted"; exit 1; }

# go vet, for this system. cross does it for others. And is the profile one?
vet:
	go tool preprofile -i default.pgo -o /dev/null
	go vet ./...
	cd examples && go vet ./...
	cd bench && go vet ./...

# What go vet looks for, for each system in TARGETS but this one, which is vet's, and with
# the tag invariants.
cross:
	go -C internal/lint/crossvet run . $(CURDIR) $(filter-out $(THIS),$(TARGETS)) linux/amd64,invariants
	go -C internal/lint/crossvet run . $(CURDIR)/bench $(filter-out $(THIS),$(TARGETS))

# Tests of all packages but internal/e2e.
# None of the tests vets what it compiles: vet does, for all files.
unit: $(BROWSER)/node_modules/.package-lock.json
	go test -vet=off -timeout 30m $$(go list ./... | grep -v /internal/e2e$$)
	cd bench && go test -vet=off -timeout 30m ./...

# Those of unit with the race detector and the checks of the tag invariants, without
# internal/lint: what it reads are files.
race: $(BROWSER)/node_modules/.package-lock.json
	go test -vet=off -timeout 30m -race -tags invariants $$(go list ./... | grep -v -e /internal/e2e$$ -e /internal/lint$$)

# Those of bench with the race detector and the checks of the tag invariants.
bench-race:
	cd bench && go test -vet=off -timeout 30m -race -tags invariants ./...

# The binary against the official clients and against raw sockets.
# Those of its tests that are parallel wait more than they work.
e2e: setup
	go test -vet=off -count=1 -timeout 30m -parallel 16 -skip '^TestAutobahn$$' ./internal/e2e

# The groups of the Autobahn|Testsuite that take seconds.
autobahn: autobahn-suite
	go test -vet=off -count=1 -timeout 30m -run '^TestAutobahn$$' ./internal/e2e

# Tests of the programs in examples, a module of its own.
examples: setup
	cd examples && go test -vet=off -count=1 -timeout 15m ./...

# Those of examples with the race detector and the checks of the tag invariants.
examples-race: setup
	cd examples && go test -vet=off -count=1 -timeout 15m -race -tags invariants ./...

# All groups of the Autobahn|Testsuite, in about 15 minutes.
conformance: autobahn-suite
	TURBINE_AUTOBAHN=all go test -v -count=1 -timeout 3h -run 'TestAutobahn|TestJudge' ./internal/e2e

# What takes too long for every change, in about 85 minutes.
nightly: conformance soak fuzz bench-sim chaos

# golangci-lint.
lint: .tools/golangci-lint-$(GOLANGCI_LINT_VERSION)
	$< run --allow-parallel-runners ./...
	cd examples && $(CURDIR)/$< run --allow-parallel-runners ./...
	cd bench && $(CURDIR)/$< run --allow-parallel-runners ./...

# go.mod and go.sum of every module say what its code needs, no more and no less.
tidy:
	@find . -name go.mod -not -path '*/node_modules/*' | while read -r file; do \
		(cd "$$(dirname "$$file")" && go mod tidy -diff) || { echo "$$file: run go mod tidy"; exit 1; }; \
	done

# Known vulnerabilities in what the code calls.
# Where the database cannot be had nothing is known, which is no failure, but said.
vuln: .tools/govulncheck-$(GOVULNCHECK_VERSION)
	@{ $< -db $(VULNDB) ./... && $< -C examples -db $(VULNDB) ./... && $< -C bench -db $(VULNDB) ./...; } >.tools/vuln.txt 2>&1; code=$$?; cat .tools/vuln.txt; \
	if test $$code -ne 0 && grep -q 'fetching vulnerabilities' .tools/vuln.txt; then \
		echo "vuln: the database is out of reach, nothing was checked"; code=0; \
	fi; exit $$code

.tools/golangci-lint-$(GOLANGCI_LINT_VERSION):
	GOBIN=$(CURDIR)/.tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv .tools/golangci-lint $@

.tools/govulncheck-$(GOVULNCHECK_VERSION):
	GOBIN=$(CURDIR)/.tools go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	mv .tools/govulncheck $@

.tools/nfpm-$(NFPM_VERSION):
	GOBIN=$(CURDIR)/.tools go install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)
	mv .tools/nfpm $@

.tools/cyclonedx-gomod-$(CYCLONEDX_VERSION):
	GOBIN=$(CURDIR)/.tools go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION)
	mv .tools/cyclonedx-gomod $@

# Each fuzz target for FUZZTIME.
fuzz:
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package || exit 1; \
		done; \
	done

# Random clients on failing system calls for SOAKTIME, with figures at the end.
# Again from a seed it has told: make soak ARGS="-model.seed=1"
soak:
	go test -count=1 -tags invariants -timeout 3h -v -run '^TestSoak$$' ./engine -soak $(SOAKTIME) $(ARGS)

# Hostile and broken clients next to good ones: 10 minutes, into docs/chaos.md.
# As root it makes network namespaces.
# ARGS are flags: make chaos ARGS="--phases heads,cuts --scale 0.1 --out -"
# It runs in bench, as the next four do: files in their flags are named from there.
chaos:
	cd bench && go run ./chaos $(ARGS)

# This server and its peers side by side: under 25 minutes, into bench/results.
# ARGS are flags: make bench ARGS="--peers turbine,bun"
bench:
	cd bench && go run . compare $(ARGS)

# bench in under 3 minutes, after the peers are installed, with fewer peers, scenarios and rounds.
bench-quick:
	cd bench && go run . compare --quick --out results/quick $(ARGS)

# 100,000 and 1,000,000 simulated sessions in one process: about 8 minutes.
bench-sim:
	cd bench && go run . sim $(ARGS)

# 1,000,000 real TCP sessions over many processes, held for 5 minutes.
# It says first what it takes, and refuses where there is not enough memory.
bench-million:
	cd bench && go run . million $(ARGS)

# Nanoseconds and allocations of parsers, encoders, mailbox, wheel and an echo.
# EchoDuringWalk is for a number of rounds: between two of them it reads 9,500 sockets.
bench-micro:
	go test -run '^$$' -bench . -skip EchoDuringWalk -benchmem $$(go list ./... | grep -v /internal/e2e)

# The profile that the compiler reads when it builds the program.
# See go doc cmd/go, -pgo: what is hot is inlined. To be made again after the hot path has changed.
pgo:
	@mkdir -p .tools
	go test -run '^$$' -bench . -skip EchoDuringWalk -benchtime 3s -pgo=off -trimpath -cpuprofile .tools/engine.prof -o .tools/engine.test ./engine
	go tool pprof -proto .tools/engine.prof > default.pgo

# Which code the tests run.
cover:
	go test -coverpkg ./... -coverprofile cover.out $$(go list ./... | grep -v /internal/e2e$$)
	go tool cover -func cover.out | tail -1

# Removes what was built and installed here.
clean:
	rm -rf turbine cover.out dist .tools $(CLIENTS)/node_modules $(BROWSER)/node_modules $(BROWSER)/artifacts $(MIGRATION)/node_modules examples/chat/testdata/artifacts
