# Everything is built and run by make; `make help` lists the targets. Tools are
# pinned here and run by `go run`, so that nothing has to be installed.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@latest

FILTER   := build/sallyport.wasm
EMBEDDED := host/internal/filterwasm/module/sallyport.wasm
FILTER_SOURCES := $(shell find plugin policydata -name '*.go' -not -name '*_test.go')
HOST_SOURCES   := $(shell find host policydata -type f -not -name '*_test.go' -not -path '*/testdata/*')

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

run: build ## run the whole on this machine: host, proxy with the filter, upstream
	build/sallyport demo

build: build/sallyport ## build the control service with the filter embedded

plugin: $(FILTER) ## build the filter

$(FILTER): $(FILTER_SOURCES) go.mod go.sum
	@mkdir -p build
	GOOS=wasip1 GOARCH=wasm go build -trimpath -ldflags='-s -w' -buildmode=c-shared -o $@ ./plugin

$(EMBEDDED): $(FILTER)
	cp $(FILTER) $@

build/sallyport: $(EMBEDDED) $(HOST_SOURCES) go.mod go.sum
	go build -trimpath -o $@ ./host/cmd/sallyport

envoy: ## fetch the real Envoy into build/ (ENVOY=path uses another)
	@scripts/get-envoy

.PHONY: help run build plugin envoy
