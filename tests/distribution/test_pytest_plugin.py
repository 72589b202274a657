"""The pytest plugin in projects of users: the wheel is installed with pytest, with and without the extra it needs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import nitro_simulator
from tests.support.project.distribution import link_libraries, make_environment, run
from tests.support.project.packages import PACKAGES

STRICT = ("-W", "error", "--strict-markers", "--strict-config", "-p", "no:cacheprovider")
FIXTURES = ("kmstool_client", "kmstool_enclave_client", "kmstool_endpoint_url", "kmstool_key_id", "kmstool_sim")
OWN_SIMULATOR = {
    "simulator.py": "def simulate() -> str:\n    return 'of the project'\n",
    "conftest.py": (
        "import pytest\nimport simulator\n\n@pytest.fixture\ndef simulated():\n    return simulator.simulate()\n"
    ),
    "test_own.py": "import simulator\n\ndef test_own(simulated):\n    assert simulated == simulator.simulate()\n",
}
LIBRARIES = "('boto3', 'botocore', 'cbor2', 'cryptography', 'pyasn1', 'urllib3', 'nitro_simulator.account')"
UNRELATED = {
    "test_unrelated.py": f"import sys\n\ndef test_lean():\n    assert not {{*{LIBRARIES}}} & {{*sys.modules}}\n"
}
ASKING = {"test_asking.py": "def test_asks(kmstool_key_id):\n    assert kmstool_key_id.startswith('arn:aws:kms:')\n"}
HIDDEN = {
    "no such module": "sys.modules['boto3'] = None\n",
    "a stand-in": "sys.modules['boto3'] = type(sys)('boto3')\n",
    "an import hook that raises": (
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'boto3':\n"
        "            raise RuntimeError('boto3 is not to be imported in these tests')\n"
        "sys.meta_path.insert(0, Blocker())\n"
    ),
}
"""Code with which a project hides an installed library before pytest starts."""


class Environment:
    """A virtual environment with the wheel, pytest, and the libraries of some extras."""

    def __init__(self, folder: Path, wheel: Path, *extras: str) -> None:
        folder.mkdir()
        self._python = make_environment(folder / "venv", wheel) / "python"
        libraries = folder / "libraries"
        libraries.mkdir()
        self._libraries = link_libraries(libraries, *extras, requirements=["pytest", "pytest-xdist"])

    def pytest(
        self,
        project: Path,
        files: Mapping[str, str],
        *arguments: str,
        start: Sequence[str] = ("-m", "pytest"),
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Write a project, and run pytest in it, with warnings as errors."""
        for name, text in files.items():
            project.joinpath(name).write_text(text)
        path = f"{environment.pop('PYTHONPATH', project)}:{self._libraries}"
        own = {"PYTHONPATH": path, "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": "", "PYTHONWARNINGS": "error", **environment}
        return run(self._python, *start, *STRICT, *arguments, cwd=project, **own)


@pytest.fixture(scope="module")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("full") / "environment", wheel, "sim")


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("bare") / "environment", wheel)


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    """Return the counts in pytest's last line, after checking for output that no run may have."""
    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert "warning" not in done.stdout.lower()
    assert done.stderr == ""
    return re.sub(r" in [\d.]+s.*| ?=+ ?", "", done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("kind", ["full", "bare"])
class TestProjectThatDoesNotUseIt:
    def test_own_module_named_simulator_is_the_projects(
        self, kind: str, request: pytest.FixtureRequest, tmp_path: Path
    ) -> None:
        environment: Environment = request.getfixturevalue(kind)
        assert outcome(environment.pytest(tmp_path, OWN_SIMULATOR)) == "1 passed"
        assert outcome(environment.pytest(tmp_path, OWN_SIMULATOR, "--import-mode=importlib")) == "1 passed"

    def test_run_loads_no_library(self, kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        environment: Environment = request.getfixturevalue(kind)
        assert outcome(environment.pytest(tmp_path, UNRELATED)) == "1 passed"

    def test_run_on_several_processes_is_the_same_as_without_it(
        self, kind: str, request: pytest.FixtureRequest, tmp_path: Path
    ) -> None:
        environment: Environment = request.getfixturevalue(kind)
        assert outcome(environment.pytest(tmp_path, OWN_SIMULATOR | UNRELATED, "-n", "2")) == "2 passed"


class TestWithTheExtra:
    def test_example_of_the_package_runs_as_it_stands(self, full: Environment, tmp_path: Path) -> None:
        example = (nitro_simulator.__doc__ or "").partition("::\n")[2].partition("\nKMS verifies")[0]
        assert "def test_only_the_enclave_decrypts(" in example
        files = {"test_example.py": "".join(line.removeprefix("    ") for line in example.splitlines(keepends=True))}
        assert outcome(full.pytest(tmp_path, files)) == "1 passed"

    def test_program_may_import_the_packages_before_it_starts_pytest(self, full: Environment, tmp_path: Path) -> None:
        program = f"import sys, pytest, {', '.join(PACKAGES)}\nsys.exit(pytest.main(sys.argv[1:]))\n"
        files = OWN_SIMULATOR | {"run_tests.py": program}
        assert outcome(full.pytest(tmp_path, files, start=("run_tests.py",))) == "1 passed"

    def test_every_fixture_works_and_is_documented(self, full: Environment, tmp_path: Path) -> None:
        files = {"test_all.py": f"def test_all({', '.join(FIXTURES)}):\n    kmstool_client.list_keys()\n"}
        assert outcome(full.pytest(tmp_path, files)) == "1 passed"
        shown = full.pytest(tmp_path, files, "--fixtures").stdout
        for name in FIXTURES:
            assert re.search(rf"^{name}( \[session scope\])? -- .*\n    \w+", shown, re.MULTILINE), name

    def test_each_of_several_processes_has_an_account_of_its_own(self, full: Environment, tmp_path: Path) -> None:
        tests = "".join(f"def test_{n}(kmstool_sim):\n    print('at', kmstool_sim.directory)\n\n" for n in range(4))
        done = full.pytest(tmp_path, {"test_many.py": tests}, "-n", "2", "-rP")
        assert outcome(done) == "4 passed"
        directories = set(re.findall(r"^at (.*)$", done.stdout, re.MULTILINE))
        assert len(directories) == 2
        assert [name for name in directories if Path(name).exists()] == []

    def test_failing_tests_do_not_affect_the_others(self, full: Environment, tmp_path: Path) -> None:
        files = ASKING | {"test_wrong.py": "def test_wrong(kmstool_sim):\n    assert kmstool_sim.region == 'x'\n"}
        assert outcome(full.pytest(tmp_path, files)) == "1 failed, 1 passed"

    def test_fixtures_of_the_same_name_in_the_project_win(self, full: Environment, tmp_path: Path) -> None:
        files = {
            "conftest.py": "import pytest\n\n@pytest.fixture\ndef kmstool_key_id():\n    return 'arn:aws:kms:own'\n",
            "test_asking.py": "def test_asks(kmstool_key_id):\n    assert kmstool_key_id == 'arn:aws:kms:own'\n",
        }
        assert outcome(full.pytest(tmp_path, files)) == "1 passed"

    @pytest.mark.parametrize("autoload", ["", "1"])
    def test_plugin_may_be_named_whether_pytest_finds_it_or_not(
        self, full: Environment, tmp_path: Path, autoload: str
    ) -> None:
        variables = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": autoload} if autoload else {}
        done = full.pytest(tmp_path, ASKING, "-p", "nitro_simulator.pytest_plugin", **variables)
        assert outcome(done) == "1 passed"
        conftest = {"conftest.py": "pytest_plugins = ['nitro_simulator.pytest_plugin']\n"}
        assert outcome(full.pytest(tmp_path, ASKING | conftest, **variables)) == "1 passed"

    def test_plugin_can_be_turned_off(self, full: Environment, tmp_path: Path) -> None:
        done = full.pytest(tmp_path, ASKING, "-p", "no:nitro_simulator.pytest_plugin")
        assert outcome(done) == "1 error"
        assert "fixture 'kmstool_key_id' not found" in done.stdout

    @pytest.mark.parametrize("how", HIDDEN)
    def test_library_that_the_project_hides_counts_as_missing(
        self, full: Environment, tmp_path: Path, how: str
    ) -> None:
        start = tmp_path / "start"
        start.mkdir()
        start.joinpath("sitecustomize.py").write_text(f"import sys\n{HIDDEN[how]}")
        done = full.pytest(tmp_path, ASKING | OWN_SIMULATOR, PYTHONPATH=f"{start}:{tmp_path}")
        assert outcome(done) == "1 passed, 1 error"
        assert "fixture 'kmstool_key_id' not found" in done.stdout


class TestWithoutTheExtra:
    @pytest.mark.parametrize("name", FIXTURES)
    def test_fixture_is_not_found(self, bare: Environment, tmp_path: Path, name: str) -> None:
        done = bare.pytest(tmp_path, {"test_one.py": f"def test_one({name}):\n    pass\n"} | OWN_SIMULATOR)
        assert outcome(done) == "1 passed, 1 error"
        assert f"fixture '{name}' not found" in done.stdout

    def test_naming_the_plugin_is_not_an_error(self, bare: Environment, tmp_path: Path) -> None:
        assert outcome(bare.pytest(tmp_path, OWN_SIMULATOR, "-p", "nitro_simulator.pytest_plugin")) == "1 passed"
