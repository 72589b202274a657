"""Which packages and modules may import which others, as in the design."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MAY_IMPORT: dict[str, set[str]] = {
    "vsock_wire": set(),
    "nitro_attestation": set(),
    "enclave_tool": {"vsock_wire"},
    "instance_tool": {"vsock_wire", "nitro_attestation"},
    "vsock_proxy": {"vsock_wire"},
    "nitro_simulator": {"vsock_wire", "nitro_attestation", "enclave_tool", "instance_tool", "vsock_proxy"},
}
OURS = {*MAY_IMPORT, "tests", "bench", "tools"}

PROXY_USES_OF_THE_WIRE = ("vsock_wire.net", "vsock_wire.errors", "vsock_wire.cli", "vsock_wire.version")
"""The proxy relays bytes and must not know messages. ``cli`` starts every command-line program."""

LIBRARIES: dict[str, set[str]] = {
    "vsock_wire": set(),
    "enclave_tool": {"boto3", "botocore", "cbor2", "click", "cryptography", "mypy_boto3_kms", "pyasn1", "urllib3"},
}
"""Libraries that are measured into the enclave image. Adding one is a decision."""

LAYERS: dict[str, list[set[str]]] = {
    "vsock_wire": [{"errors", "stopwatch", "version"}, {"net", "protocol"}, {"cli", "rpc"}],
    "nitro_attestation": [
        {"errors", "quoting", "strict_json"},
        {"document"},
        {"measurements", "image"},
        {"key_policy", "verification"},
    ],
    "enclave_tool": [
        {"arguments", "errors"},
        {"nsm"},
        {"recipient"},
        {"kms", "delivery"},
        {"server"},
        {"commands"},
        {"console_scripts"},
    ],
    "instance_tool": [
        {"errors", "trace_text"},
        {"configuration", "credentials"},
        {"client"},
        {"console"},
        {"hops", "local_service"},
        {"commands"},
        {"eif", "main"},
        {"console_scripts"},
    ],
    "vsock_proxy": [
        {"errors", "logs"},
        {"config"},
        {"handshake", "settings"},
        {"dial"},
        {"relay"},
        {"listener"},
        {"server"},
        {"daemon"},
        {"options"},
        {"check"},
        {"cli"},
        {"console_scripts"},
    ],
    "nitro_simulator": [
        {"clock", "errors"},
        {"http_server", "identities", "pki"},
        {"imds", "kms", "nsm"},
        {"account"},
        {"deployment", "pytest_plugin"},
        {"commands"},
        {"cli"},
        {"console_scripts"},
    ],
}
"""The layers of each package, from bottom to top. A part does not import from higher layers, nor from other parts of
its own layer."""


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Return the full name of each module that ``path`` imports or names, anywhere in it."""
    source = path.read_text()
    return {*imports_in(source), *modules_named_in(source)}


def imports_in(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which package they lead to"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if is_module(node.module, alias.name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def is_module(package: str, name: str) -> bool:
    folder = ROOT.joinpath(*package.split("."))
    return (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()


def modules_named_in(source: str) -> Iterator[str]:
    """Yield our modules that a string names, to be imported or patched later."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = node.value.split(".")
            if parts[0] in OURS and len(parts) > 1 and all(part.isidentifier() for part in parts):
                yield node.value


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_package_imports_only_the_packages_it_may(package: str) -> None:
    assert modules(package)
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name in imports(path)
        if (top := name.partition(".")[0]) in OURS - {package} and top not in MAY_IMPORT[package]
    }
    assert found == set()


def test_wire_uses_the_standard_library_only() -> None:
    names = {name.partition(".")[0] for path in modules("vsock_wire") for name in imports(path)}
    assert names - sys.stdlib_module_names == {"vsock_wire"}


@pytest.mark.parametrize("package", sorted(LIBRARIES))
def test_what_is_measured_uses_known_libraries_only(package: str) -> None:
    names = {name.partition(".")[0] for path in modules(package) for name in imports(path)}
    assert names - sys.stdlib_module_names - OURS <= LIBRARIES[package]


def test_proxy_uses_of_the_wire_only_what_carries_bytes() -> None:
    names = {name for path in modules("vsock_proxy") for name in imports(path) if name.startswith("vsock_wire.")}
    assert {name for name in names if not name.startswith(PROXY_USES_OF_THE_WIRE)} == set()


def part(name: str) -> str:
    """Return the part of its package to which a module belongs."""
    return name.split(".")[1]


@pytest.mark.parametrize("package", sorted(LAYERS))
def test_imports_inside_a_package_go_down_only(package: str) -> None:
    heights = {name: height for height, names in enumerate(LAYERS[package]) for name in names}
    found = set()
    for path in modules(package):
        if path == ROOT / package / "__init__.py":  # re-exports the public names
            continue
        own = part(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for name in imports(path):
            other = part(name) if name.startswith(f"{package}.") else own
            if other != own and other in heights and heights[other] >= heights[own]:
                found.add(f"{path.relative_to(ROOT)} imports {name}")
    assert found == set()


@pytest.mark.parametrize("package", sorted(LAYERS))
def test_every_part_of_a_package_has_its_layer(package: str) -> None:
    parts = {
        path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts - {"__init__"} == {name for names in LAYERS[package] for name in names}


def test_every_package_is_in_the_table() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "tools"}
    assert packages == set(MAY_IMPORT)


def test_reader_of_imports_sees_every_way_to_import() -> None:
    source = (
        "import a.b\nfrom c import d\ndef f():\n    import e\n    importlib.import_module('g')\n"
        "if TYPE_CHECKING:\n    from h import i\nfrom vsock_wire import errors\nMODULE = 'nitro_simulator.pki.tls'\n"
    )
    assert set(imports_in(source)) == {"a.b", "c", "e", "g", "h", "vsock_wire", "vsock_wire.errors"}
    assert list(modules_named_in(source)) == ["nitro_simulator.pki.tls"]
