# The commands of everyday work. CMake and Ninja do the building; `make help` lists the targets.
BUILD ?= build
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
ROUNDS ?= 50
SECONDS_EACH ?= 30

SOURCES = $(shell git ls-files 'src/*.[ch]' 'tests/*.[ch]' 'bench/*.[ch]')

.DEFAULT_GOAL := all
.PHONY: all help packages test unit demo bench lint format format-check asan tsan valgrind fuzz soak conformance install clean

all: ## build the release binary, build/syncline
	@scripts/install-packages.sh build
	@scripts/build.sh $(BUILD)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

packages: ## install every Debian package that building, testing and linting need
	@scripts/install-packages.sh build run test lint

test: ## unit tests, vectors, integration tests, client SDK tests; ends with "N passed, N failed, N skipped"
	@tests/run.sh

unit: ## unit tests and vectors alone
	@tests/run.sh unit

demo: ## a small database, the service and a client on this machine, in under a minute
	@scripts/demo.sh

bench: all ## fixed workloads beside the limits of the machine
	@bench/run.sh

lint: ## cppcheck and clang-tidy over src/
	@scripts/install-packages.sh build lint
	@scripts/lint.sh

format: ## apply .clang-format
	@clang-format -i $(SOURCES)

format-check: ## fail if clang-format would change something
	@clang-format --dry-run --Werror $(SOURCES)

asan: ## every test, the service's included, under AddressSanitizer and UBSan
	@BUILD=build-asan CMAKE_OPTIONS="-DSANITIZE=address" tests/run.sh

tsan: ## unit tests and vectors under ThreadSanitizer
	@BUILD=build-tsan CMAKE_OPTIONS="-DSANITIZE=thread" tests/run.sh unit

valgrind: ## unit tests under valgrind's memcheck
	@tests/run.sh valgrind

fuzz: ## every fuzz target for SECONDS_EACH=30 seconds
	@scripts/fuzz.sh $(SECONDS_EACH)

soak: all ## ROUNDS=50 rounds of kill -9 under random writes
	@tests/run.sh soak $(ROUNDS)

conformance: all ## a conformance harness against the service: CONFORMANCE=folder [SUITES="raw sdk"]
	@scripts/conformance.sh "$(CONFORMANCE)" $(SUITES)

install: all ## install program, man page, completion, systemd unit and documents under PREFIX=/usr/local
	@cmake --install $(BUILD) --prefix $(PREFIX) >/dev/null
	@echo "installed under $(DESTDIR)$(PREFIX)"

clean: ## remove the build folders
	@rm -rf build build-asan build-tsan build-fuzz
