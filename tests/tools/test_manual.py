"""share/ is what the commands say, and the shells and man take it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from enclave_tool.nsm.device import NSM_DEVICE
from enclave_tool.nsm.entropy import RANDOM_DEVICE
from nitro_simulator.deployment.processes import tool_path
from tests.support.project.environment import variables_read_by
from tools.generate_manual import PAGES, ROOT, SHARE, files, pages
from tools.reference.command_tree import TOOLS
from tools.reference.manual_page import manual_page
from tools.reference.surroundings import ENVIRONMENT, FILES
from vsock_proxy.config.source import DEFAULT_CONFIG_PATH
from vsock_wire.net.sockets import VSOCK_DEVICE

MANUAL_PAGES = sorted(SHARE.glob("man/man1/*.1"))


def test_files_are_what_the_commands_say_now() -> None:
    here = {str(path.relative_to(SHARE)): path.read_text("utf-8") for path in SHARE.rglob("*") if path.is_file()}
    assert here == files(), "call make man"


@pytest.mark.parametrize(("name", "text"), pages().items(), ids=pages())
def test_page_of_the_reference_is_what_the_sources_say_now(name: str, text: str) -> None:
    assert PAGES.joinpath(name).read_text("utf-8") == text, "call make man"


@pytest.mark.parametrize("tool", TOOLS)
def test_page_has_every_section_and_every_option(tool: str) -> None:
    page = manual_page(tool, TOOLS[tool])
    sections = re.findall(r"^\.SH (.*)$", page, re.MULTILINE)
    assert [section for section in sections if section != "COMMANDS"] == [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "EXIT STATUS",
        "ENVIRONMENT",
        "FILES",
        "SEE ALSO",
    ]
    options = {option for parameter in TOOLS[tool].params for option in parameter.opts if option.startswith("--")}
    assert {option for option in options if option.replace("-", "\\-") not in page} == set()


@pytest.mark.parametrize("tool", TOOLS)
def test_page_names_every_environment_variable_that_the_tool_reads(tool: str) -> None:
    read = variables_read_by(tool)
    assert read - ENVIRONMENT[tool].keys() == set()
    by_a_library = {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "TMPDIR"}
    assert ENVIRONMENT[tool].keys() - read - by_a_library == set()
    page = manual_page(tool, TOOLS[tool])
    section = page.partition("\n.SH ENVIRONMENT\n")[2].partition("\n.SH ")[0]
    assert re.findall(r"^\.B (.*)$", section, re.MULTILINE) == list(ENVIRONMENT[tool])


def test_every_device_and_file_of_the_sources_is_named() -> None:
    named = {path for paths in FILES.values() for path in paths}
    constants = (NSM_DEVICE, str(RANDOM_DEVICE), VSOCK_DEVICE, str(DEFAULT_CONFIG_PATH))
    assert set(constants) <= named


@pytest.mark.parametrize("path", MANUAL_PAGES, ids=lambda path: path.name)
def test_man_takes_the_page_without_a_warning(path: Path) -> None:
    groff = shutil.which("groff")
    assert groff, "on Debian: apt-get install groff-base"
    done = subprocess.run(
        [groff, "-man", "-ww", "-z", "-Tutf8", "-K", "utf8", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["kmstool-instance", "po"], {"policy"}),
        (["kmstool-instance", "policy", "--me"], {"--measurements"}),
        (["kmstool-instance", "--output", ""], {"raw", "base64", "json"}),
        (["kmstool-enclave", "--key-b"], {"--key-bits"}),
        (["kmstool-enclave-cli", "gen"], {"genkey", "genkeypair", "genrandom"}),
        (["vsock-proxy", "--log-format", "j"], {"json"}),
        (["kmstool-sim", "d"], {"demo"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_completes(words: list[str], wanted: set[str]) -> None:
    tool = words[0]
    script = (
        f"source {SHARE}/bash-completion/completions/{tool}\n"
        f"COMP_WORDS=({' '.join(repr(word) for word in words)})\nCOMP_CWORD={len(words) - 1}\n"
        f"function=$(complete -p {tool}); function=${{function#*-F }}; ${{function%% *}} {tool}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    path = f"{Path(tool_path(tool)).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == wanted
