# `make demo` shows the whole flow on this machine; `make test` runs every test. Both install what they need into .venv.
PYTHON ?= python3
# Tests start tools by the hundred, so keep their bytecode, as pip does.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := vsock_wire nitro_attestation enclave_tool instance_tool vsock_proxy nitro_simulator
SOURCES := $(PACKAGES) tests bench tools examples

.PHONY: help install demo test test-fast test-pythons lint format lock fuzz soak attack proxy-chaos kill-rounds bench bench-proxy profile docs man completion install-manual images
.PHONY: enclave-image eif-judges public-api verify-reproducible image-report eif policy run-enclave console describe nitro-cli validate sbom audit dist clean
help:
	@echo "make install       set up .venv; every other target does this first if it needs it"
	@echo "make demo          decrypt with attestation on this machine, step by step, without AWS"
	@echo "make test          run every test, and list the suites that ran (PYTEST_ARGS=... runs pytest once with these)"
	@echo "make test-fast     unit tests, architecture and documentation, within a minute"
	@echo "make test-pythons  unit tests under each of Python 3.11, 3.12 and 3.13 found in PATH or pyenv"
	@echo "make lint          ruff, mypy --strict, spelling, and the format of Markdown"
	@echo "make format        rewrite the sources in the project's format"
	@echo "make docs          build the documentation site, site/index.html; warnings are errors"
	@echo "make man           generate the manual pages, shell completions and reference pages (also: make completion)"
	@echo "make install-manual  install manual pages and completions under PREFIX=~/.local"
	@echo "make public-api    list the names that other projects may import, each with a description"
	@echo "make eif-judges    compile AWS's builder and parser of image files, which tests/eif compares ours with"
	@echo "make fuzz          fuzz every decoder, guided by coverage, for TIME=60 seconds each or EXECUTIONS=N"
	@echo "make bench         measure the tools against their targets, 10 minutes (JSON=FILE also writes the figures)"
	@echo "make bench-proxy   compare vsock-proxy with its peers, 10 minutes; AWS_VSOCK_PROXY=FILE names AWS's binary"
	@echo "make profile       show where the enclave spends the time of a decrypt"
	@echo "make soak          decrypt for 20 minutes or 1,000,000 times; memory and descriptors must stay flat"
	@echo "make attack        run honest clients next to 500 attacking connections; no request may be lost"
	@echo "make proxy-chaos   disturb the proxy for SECONDS=600 (an hour: 3600) with faults from SEED=1; nothing may be lost"
	@echo "make kill-rounds   kill -9 each part in turn, 200 times, while instances decrypt"
	@echo "make images        build the enclave's and the instance's image with docker, podman or buildah (docs/how-to/build-images.md)"
	@echo "make verify-reproducible  build each image twice from scratch and compare them file by file"
	@echo "make image-report  show what takes up space in the images"
	@echo "make eif           build the enclave image file and its measurements.json, with nitro-cli or kmstool-eif"
	@echo "make policy        write the key policy for it: ROLE=ARN ADMIN=ARN"
	@echo "make run-enclave   run it with nitro-cli: CID=16 CPUS=2 MEMORY=512 DEBUG=1; also: make console, make describe"
	@echo "make validate      check deploy/ against the schemas of Kubernetes and CloudFormation, and with systemd"
	@echo "make sbom          list the packages of both images as CycloneDX, in build/sbom/"
	@echo "make audit         check the locked packages for known vulnerabilities"
	@echo "make dist          build wheel and sdist in dist/"
	@echo "make lock          resolve all dependencies again and lock them by hash"
	@echo "make clean         remove the virtual environments and every cache"

# The distribution used to be called kmstool; with both installed, pytest would load the plugin twice and give up.
$(STAMP): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1), but Python 3.11 or later is needed; run make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "error: $(PYTHON) cannot create a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@echo "installing the locked packages into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip uninstall -qq --disable-pip-version-check --yes kmstool
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

install: $(STAMP)

demo: $(STAMP)
	@$(BIN)/kmstool-sim demo

# With PYTEST_ARGS, run pytest once with these arguments.
test: $(STAMP)
	@$(if $(PYTEST_ARGS),$(BIN)/pytest $(PYTEST_ARGS),$(BIN)/python -m tests.run)

test-fast: $(STAMP)
	@$(BIN)/python -m tests.run --fast

# In virtual environments next to .venv; reports and skips a Python that is not installed.
test-pythons: $(STAMP)
	@$(BIN)/python -m tools.pythons

lint: $(STAMP)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/python -m tools.proofread

public-api: $(STAMP)
	@$(BIN)/python -m tools.public_api

# AWS's builder and parser of image files, for tests/eif. Compiling takes two minutes, so they are kept for other checkouts.
EIF_JUDGES ?= $(HOME)/.cache/nitro-kmstool/eif-judges-1
eif-judges:
	@command -v cargo >/dev/null || { echo "error: cargo: not found; on Debian: apt-get install cargo" >&2; exit 2; }
	@[ -x $(EIF_JUDGES)/bin/eif_build ] || cargo install --quiet --locked --root $(EIF_JUDGES) eif_build --version 0.2.1
	@[ -x $(EIF_JUDGES)/bin/eif-judge ] || cargo install --quiet --root $(EIF_JUDGES) --path tests/eif/judge \
		--target-dir $(EIF_JUDGES)/target

fuzz: $(STAMP)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	@$(BIN)/python -m tests.fuzz.campaign --seconds $(or $(TIME),$(if $(EXECUTIONS),0,60)) --executions $(or $(EXECUTIONS),0)

bench-proxy: $(STAMP)
	@$(BIN)/python -m bench.proxy $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(JSON),--json $(JSON))

bench: $(STAMP)
	@$(BIN)/python -m bench.kmstool $(if $(JSON),--json $(JSON))

profile: $(STAMP)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@$(BIN)/python -m bench.profile

docs: $(STAMP)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@$(BIN)/python -m tools.site_search site
	@echo "site/index.html; its search needs a server: python3 -m http.server --bind 127.0.0.1 --directory site"

man: $(STAMP)
	@$(BIN)/python -m tools.generate_manual

completion: man

# For this user's shells and man: bash and fish look there without configuration.
install-manual:
	@mkdir -p $(or $(PREFIX),$(HOME)/.local)/share
	@cp -R share/. $(or $(PREFIX),$(HOME)/.local)/share/
	@echo "manual pages and completions: $(or $(PREFIX),$(HOME)/.local)/share"

soak: $(STAMP)
	@$(BIN)/python -m tests.reliability.soak

attack: $(STAMP)
	@$(BIN)/python -m tests.reliability.attack

proxy-chaos: $(STAMP)
	@$(BIN)/python -m tests.reliability.proxy_chaos --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1)

kill-rounds: $(STAMP)
	@$(BIN)/python -m tests.reliability.kill_rounds

format: $(STAMP)
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade pyproject.toml
lock: $(STAMP)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@$(UV_COMPILE) --extra enclave --output-file requirements/enclave.txt
	@$(UV_COMPILE) --extra instance --extra proxy --output-file requirements/instance.txt
	@$(UV_COMPILE) --extra dev --output-file requirements/dev.txt
	@$(UV_COMPILE) --extra fuzz --output-file requirements/fuzz.txt
	@$(UV_COMPILE) --extra bench --output-file requirements/bench.txt
	@$(UV_COMPILE) --extra deploy --output-file requirements/deploy.txt
	@$(UV_COMPILE) --extra docs --output-file requirements/docs.txt
	@$(UV_COMPILE) --extra supply --output-file requirements/supply.txt

clean:
	@rm -rf $(VENV) $(VENV)-* .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build site

IMAGE_PYTHON = $(PYTHON) -m tools.images.make
images:
	@$(IMAGE_PYTHON) build

# PLANT=1 makes every file of the second build one second newer, which the comparison must find.
verify-reproducible:
	@$(IMAGE_PYTHON) verify $(if $(PLANT),--plant $(PLANT))

image-report:
	@$(IMAGE_PYTHON) report

EIF := build/images/kmstool-enclave.eif
MEASUREMENTS := build/images/measurements.json
CID ?= 16
CPUS ?= 2
MEMORY ?= 512
NITRO_CLI ?= nitro-cli
nitro-cli:
	@command -v $(NITRO_CLI) >/dev/null || { \
	echo "error: $(NITRO_CLI): not found; on an EC2 instance with enclaves: dnf install aws-nitro-enclaves-cli" >&2; \
	exit 2; }
NEEDS_EIF = @[ -e $(EIF) ] || { echo "error: $(EIF): not found; run make eif first" >&2; exit 2; }

enclave-image:
	@$(IMAGE_PYTHON) build enclave

ENCLAVE_ARCHIVE := build/images/enclave.tar
eif: $(STAMP) enclave-image
	@$(BIN)/python -m tools.images.eif --nitro-cli $(NITRO_CLI) --archive $(ENCLAVE_ARCHIVE) --out $(EIF) --measurements $(MEASUREMENTS)

policy: $(STAMP)
	@[ -e $(MEASUREMENTS) ] || { echo "error: $(MEASUREMENTS): not found; run make eif first" >&2; exit 2; }
	@[ "$(ROLE)" ] && [ "$(ADMIN)" ] || { echo "error: ROLE and ADMIN are not both set; run make policy ROLE=ARN ADMIN=ARN" >&2; exit 2; }
	@$(BIN)/kmstool-instance policy --measurements $(MEASUREMENTS) $(ROLE:%=--role %) $(ADMIN:%=--admin %)

run-enclave: nitro-cli
	$(NEEDS_EIF)
	@$(NITRO_CLI) run-enclave --eif-path $(EIF) --enclave-cid $(CID) --cpu-count $(CPUS) --memory $(MEMORY) $(if $(DEBUG),--debug-mode)

console: nitro-cli
	@$(NITRO_CLI) console --enclave-name $(or $(ENCLAVE),kmstool-enclave)

describe: nitro-cli
	@$(NITRO_CLI) describe-enclaves

# In its own environment: the validators would triple the size of .venv.
VALIDATION := $(VENV)-validation
validate:
	@[ -e $(VALIDATION)/bin/cfn-lint ] || $(PYTHON) -m venv $(VALIDATION)
	@$(VALIDATION)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/deploy.txt
	@$(VALIDATION)/bin/kubernetes-validate --strict --quiet deploy/kubernetes/kmstool.yaml
	@$(VALIDATION)/bin/cfn-lint deploy/cloudformation/kmstool.yaml
	@echo "deploy/kubernetes and deploy/cloudformation follow the schemas of Kubernetes and CloudFormation"
	@sh deploy/systemd/verify.sh

SUPPLY := $(VENV)-supply
$(SUPPLY)/bin/pip-audit: requirements/supply.txt
	@$(PYTHON) -m venv $(SUPPLY)
	@$(SUPPLY)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/supply.txt
	@touch $@

SBOM = PYTHONWARNINGS=ignore $(SUPPLY)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible
sbom: $(SUPPLY)/bin/pip-audit
	@mkdir -p build/sbom
	@$(SBOM) --output-file build/sbom/enclave.cdx.json requirements/enclave.txt
	@$(SBOM) --output-file build/sbom/instance.cdx.json requirements/instance.txt
	@ls build/sbom/*.cdx.json

audit: $(STAMP) $(SUPPLY)/bin/pip-audit
	@$(BIN)/python -m tools.audit $(SUPPLY)/bin/pip-audit requirements/enclave.txt requirements/instance.txt requirements/dev.txt

# Built from the committed state, so that --version can name the commit.
dist: $(STAMP)
	@rm -rf dist
	@$(BIN)/python -m hatchling build
	@ls dist/*
