# Everything is built and run by make; `make help` lists the targets. Tools are
# pinned here and run by `go run`, so that nothing has to be installed.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
FUZZTIME    := 60s

FILTER   := build/sallyport.wasm
EMBEDDED := host/internal/filterwasm/module/sallyport.wasm
# A filter that is larger than this takes too long to compile in a proxy.
MAX_FILTER_BYTES := 6000000

FILTER_SOURCES := $(shell find plugin policydata -name '*.go' -not -name '*_test.go')
HOST_SOURCES   := $(shell find host policydata -type f -not -name '*_test.go' -not -path '*/testdata/*')

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## run the whole on this machine: host, proxy with the filter, upstream
	build/sallyport demo

test: build size lint envoy ## lint and run all tests: with the race detector, in wazero, in the real Envoy
	go test -race $$(go list ./... | grep -v /e2e)
	go test ./e2e/...

bench: build envoy ## measure deciding, loading, and the filter in Envoy beside what it replaces
	go test -run '^$$' -bench . -benchmem ./policydata/...
	go test -run '^$$' -bench 'Scale|Pollers' -benchtime 1x -timeout 30m ./host/internal/server
	go test -p 1 -v -run '^$$' -bench . -benchtime 1x -timeout 30m ./e2e/bench ./e2e/verify

build: build/sallyport ## build the control service with the filter embedded

plugin: $(FILTER) ## build the filter

$(FILTER): $(FILTER_SOURCES) go.mod go.sum
	@mkdir -p build
	CGO_ENABLED=0 GOOS=wasip1 GOARCH=wasm go build -trimpath -ldflags='-s -w' -buildmode=c-shared -o build/untrimmed.wasm ./plugin
	go run ./plugin/cmd/trim build/untrimmed.wasm $@

$(EMBEDDED): $(FILTER)
	cp $(FILTER) $@

build/sallyport: $(EMBEDDED) $(HOST_SOURCES) go.mod go.sum
	go build -trimpath -o $@ ./host/cmd/sallyport

size: $(FILTER) ## fail if the filter is larger than its budget
	@test $$(wc -c <$(FILTER)) -le $(MAX_FILTER_BYTES) || \
		{ echo "$(FILTER) has $$(wc -c <$(FILTER)) bytes, more than $(MAX_FILTER_BYTES)"; exit 1; }

lint: ## check format, vet, staticcheck and go.mod
	@unformatted=$$(go run $(GOFUMPT) -l host plugin policydata e2e scripts) && \
		{ test -z "$$unformatted" || { echo "not formatted by gofumpt: $$unformatted"; exit 1; }; }
	go vet ./...
	GOOS=wasip1 GOARCH=wasm go build ./plugin/... ./policydata/...
	go run $(STATICCHECK) ./...
	go mod tidy -diff

fuzz: ## run each fuzz target for FUZZTIME
	@go list ./... | while read -r package; do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x $$package || exit 1; \
		done; \
	done

mutate: ## put mistakes into the code, which the tests must catch (takes an hour; GROUP=name for one, built for those of the built filter)
	go run ./scripts/mutate -group "$(GROUP)"

envoy: ## fetch the real Envoy into build/ (ENVOY=path uses another)
	@scripts/get-envoy >/dev/null

keycloak: build envoy ## fetch a real Keycloak into build/ and test with it (needs Java; KEYCLOAK=dir uses another)
	@home=$$(scripts/get-keycloak) && go vet -tags keycloak ./e2e/keycloak && \
		KEYCLOAK=$$home go test -tags keycloak -count 1 -timeout 20m -v ./e2e/keycloak

.PHONY: help run test bench build plugin size lint fuzz mutate envoy keycloak
