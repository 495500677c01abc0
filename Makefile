# make run     install what is missing, build, and start Causeway on this machine
# make test    everything that CI runs: lint, unit, conformance and integration tests
# make bench   the measurements of docs/benchmarks.md

GO      ?= go
# Debian's Go does not fetch the release that go.mod asks for unless told to.
export GOTOOLCHAIN ?= auto
# Test servers are built once and kept here.
export CAUSEWAY_TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/causeway-tools
export PATH := $(CAUSEWAY_TOOLS):$(PATH)

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# Packages that are part of the command; the rest is for tests, on Linux only.
PRODUCT     = $(shell $(GO) list ./... | grep -v /integration)

.PHONY: all build run test lint unit integration bench tools clean

all: build

build:
	$(GO) build -trimpath -ldflags '-X main.release=$(VERSION)' -o bin/causeway ./cmd/causeway

# Where everything is and how to end it is printed when it is ready.
run:
	@GO='$(GO)' .ci/tools run
	@$(MAKE) --no-print-directory build
	@echo 'Starting an S3 server on this machine and mounting it on ~/causeway.'
	@echo 'Work in it from another terminal:  cd ~/causeway; bin/causeway status shows what it does.'
	@bin/causeway up $(ARGS)

# Tests that mount mostly wait; the others compute meanwhile.
test: tools lint
	@$(MAKE) --no-print-directory -j2 --output-sync=target unit integration

# Programs from the distribution, and the S3 servers of integration/servers,
# which are built once.
tools:
	@GO='$(GO)' .ci/tools test
	@GO='$(GO)' .ci/servers

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags integration ./integration/...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags integration ./integration/...
	GOOS=darwin $(GO) build $(PRODUCT)
	$(GO) test ./integration/lint

# Unit and conformance tests; those of the stores start real servers.
unit:
	nice -n 5 $(GO) test -race -count=1 -p 2 -timeout 15m ./...

# Tests that mount: one package at a time, since they share /dev/fuse and the
# machine.
integration:
	$(GO) test -tags integration -p 1 -timeout 25m ./integration/...

# ARGS="-quick" sees in minutes whether everything works.
bench: tools
	$(GO) run ./integration/bench -out docs/benchmarks.md $(ARGS)

clean:
	rm -rf bin
