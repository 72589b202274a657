"""The wheel with each single extra: every console script runs, or names the extra that it needs in one line."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.project.distribution import link_libraries, make_environment, run
from tests.support.project.requirements import PROJECT
from vsock_wire import __version__

EXTRA_OF = {
    "kmstool-instance": "instance",
    "kmstool_instance": "instance",
    "kmstool-eif": "instance",
    "kmstool-enclave": "enclave",
    "kmstool_enclave": "enclave",
    "kmstool-enclave-cli": "enclave",
    "kmstool_enclave_cli": "enclave",
    "vsock-proxy": "proxy",
    "kmstool-sim": "sim",
}
"""Which extra installs the libraries of each console script."""
ENVIRONMENTS: dict[str, set[str]] = {
    "": set(),
    "enclave": {"enclave"},
    "instance": {"instance"},
    "proxy": {"proxy"},
    "sim": {"enclave", "instance", "proxy", "sim"},
}
"""The environments: one with each extra, and one with only the basic requirements."""
HELP_CODES_OF_C = {"kmstool_enclave_cli": 1}
"""How a program under C's name ends after its help or version, as C's does."""
COMMANDS = {
    "kmstool-instance": ["attest", "--enclave", "unix:no-such-socket"],
    "kmstool-eif": ["extract", "no-such-file", "--to", "."],
    "kmstool-enclave": ["--nsm", "no-such-device"],
    "kmstool-enclave-cli": ["attest", "--nsm", "no-such-device"],
    "vsock-proxy": ["check"],
    "kmstool-sim": ["run", "true"],
}
"""A command of each program that loads its libraries."""


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_environment(tmp_path_factory.mktemp("environment"), wheel)


def missing_library_message(script: str) -> str:
    """Return the message of a script without its libraries; scripts with a C name show that of our program."""
    program, extra = script.replace("_", "-"), EXTRA_OF[script]
    return f"{program}: needs: pip install 'nitro-kmstool[{extra}]'\n"


def test_every_console_script_is_covered() -> None:
    assert set(EXTRA_OF) == set(PROJECT["scripts"])


@pytest.mark.parametrize("extra", ENVIRONMENTS, ids=lambda extra: extra or "bare")
def test_every_script_runs_or_names_its_extra(extra: str, scripts: Path, tmp_path: Path) -> None:
    libraries = link_libraries(tmp_path, *([extra] if extra else []))

    def start(script: str, option: str) -> subprocess.CompletedProcess[str]:
        return run(scripts / script, option, cwd=tmp_path, PYTHONPATH=str(libraries))

    calls = [(script, option) for script in EXTRA_OF for option in ("--help", "--version")]
    with ThreadPoolExecutor(max_workers=2) as pool:
        outcomes = dict(zip(calls, pool.map(lambda call: start(*call), calls), strict=True))
    for (script, option), done in outcomes.items():
        needs = (2, "", missing_library_message(script))
        if EXTRA_OF[script] not in ENVIRONMENTS[extra] and done.returncode != 0:
            assert (done.returncode, done.stdout, done.stderr) == needs
        else:
            assert (done.returncode, done.stderr) == (HELP_CODES_OF_C.get(script, 0), ""), script
            assert (__version__ if option == "--version" else "Usage: ") in done.stdout


@pytest.mark.parametrize(("script", "arguments"), COMMANDS.items(), ids=COMMANDS)
def test_command_without_its_libraries_names_its_extra(
    script: str, arguments: list[str], scripts: Path, tmp_path: Path
) -> None:
    done = run(scripts / script, *arguments, cwd=tmp_path, PYTHONPATH=str(link_libraries(tmp_path)))
    assert (done.returncode, done.stdout, done.stderr) == (2, "", missing_library_message(script))


@pytest.mark.parametrize(("script", "arguments"), COMMANDS.items(), ids=COMMANDS)
def test_command_needs_only_its_extra(script: str, arguments: list[str], scripts: Path, tmp_path: Path) -> None:
    alone = link_libraries(tmp_path, EXTRA_OF[script])
    done = run(scripts / script, *arguments, cwd=tmp_path, PYTHONPATH=str(alone))
    assert "hint: pip install" not in done.stderr
    assert "this is a bug" not in done.stderr
    assert "Traceback" not in done.stderr
