# SPDX-License-Identifier: BSD-3-Clause
# A thin front of meson: each goal is a build folder and what runs in it. `make help` lists them.

# PREFIX=/usr and WERROR=true are meson's options of these names; what is not given stays as it is.
OPTIONS := $(if $(PREFIX),--prefix=$(PREFIX)) $(if $(WERROR),-Dwerror=$(WERROR))

# The folders, and the options of those that are like no other.
BUILD := build
BUILD_ASAN := build-asan
BUILD_TSAN := build-tsan
BUILD_CLANG := build-clang
BUILD_RELEASE := build-release
SANITIZE := -Dbuildtype=debug -Doptimization=1 -Db_sanitize

INSTALL_PACKAGES := scripts/install-packages

.PHONY: all
all: ## build umdev in build/
	@$(INSTALL_PACKAGES) --check build
	@scripts/build $(BUILD) $(OPTIONS)

.PHONY: packages
packages: ## install the Debian packages that are missing to build, test and run
	@$(INSTALL_PACKAGES) build test

.PHONY: demo
demo: ## see it work: build/umdev demo, with IMAGE=picture.png to compose one of your own
	@$(INSTALL_PACKAGES) build run
	@$(MAKE) --no-print-directory all
	@$(BUILD)/umdev demo --output $(BUILD) $(if $(IMAGE),"$(IMAGE)")

.PHONY: check
check: ## run all tests, then again under the address and undefined behaviour sanitizers
	@$(INSTALL_PACKAGES) build test
	@$(MAKE) --no-print-directory all
	@scripts/build $(BUILD_ASAN) $(OPTIONS) $(SANITIZE)=address,undefined
	@scripts/run-tests $(BUILD) $(BUILD_ASAN)

.PHONY: check-tsan
check-tsan: ## run the tests with threads under the thread sanitizer
	@$(INSTALL_PACKAGES) build test
	@scripts/build $(BUILD_TSAN) $(OPTIONS) $(SANITIZE)=thread
	@scripts/run-tests --suite threads $(BUILD_TSAN)

.PHONY: check-qemu
check-qemu: ## boot real guests with umdev's devices under stock QEMU; TESTS='…' only these
	@$(INSTALL_PACKAGES) build test
	@$(MAKE) --no-print-directory all
	@UMDEV_BUILD_DIR=$(BUILD) pytest-3 -q -p no:cacheprovider -n auto --maxprocesses 8 tests/guest $(if $(TESTS),-k "$(TESTS)")

.PHONY: check-clang
check-clang: ## build with clang, where a warning is an error
	@$(INSTALL_PACKAGES) build test lint
	@CC=clang scripts/build $(BUILD_CLANG) -Dwerror=true

.PHONY: lint
lint: check-clang ## check format, clang-tidy, licence lines and the length of files
	@scripts/lint $(BUILD_CLANG)

.PHONY: check-deploy
check-deploy: ## run docs/deploy.md: libvirt, systemd-nspawn and Podman, in namespaces of their own (root)
	@$(INSTALL_PACKAGES) build test deploy
	@$(MAKE) --no-print-directory all
	@tests/guest/fetch-qemu >/dev/null
	@UMDEV_BUILD_DIR=$(BUILD) pytest-3 -q -rs -p no:cacheprovider tests/docs/test_deploy.py

.PHONY: check-package
check-package: ## build the Debian packages, install, use and remove them aside; TO=folder to keep them
	@$(INSTALL_PACKAGES) build run package
	@scripts/check-package $(TO)

.PHONY: bench
bench: ## measure; PEER=… a library to compare with, ROWS='…' only these rows
	@$(INSTALL_PACKAGES) build
	@scripts/build $(BUILD_RELEASE) $(OPTIONS) -Dbuildtype=release
	@mkdir -p $(BUILD)
	@PEER="$(PEER)" $(BUILD_RELEASE)/umdev bench --output $(BUILD)/bench.json $(ROWS)

.PHONY: bench-qemu
bench-qemu: ## measure with real guests under stock QEMU; ROUNDS=5
	@$(INSTALL_PACKAGES) build test
	@scripts/build $(BUILD_RELEASE) $(OPTIONS) -Dbuildtype=release
	@mkdir -p $(BUILD)
	@UMDEV_BUILD_DIR=$(BUILD_RELEASE) python3 -B tests/guest/bench.py --output $(BUILD)/bench-qemu.json $(if $(ROUNDS),--rounds $(ROUNDS))

.PHONY: install
install: all ## install below PREFIX, or DESTDIR/PREFIX
	@DESTDIR="$(DESTDIR)" meson install -C $(BUILD) --no-rebuild

.PHONY: uninstall
uninstall: ## take away what the last install of build/ has put there
	@ninja -C $(BUILD) uninstall

.PHONY: clean
clean: ## remove the build folders
	@rm -rf $(BUILD) $(BUILD_ASAN) $(BUILD_TSAN) $(BUILD_CLANG) $(BUILD_RELEASE)

.PHONY: help
help: ## list the goals
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
