"""Assembles an image's root file system from what one program needs; the Dockerfiles run it in their build stage.

It contains Python's interpreter, the shared libraries that it and its extensions name, the standard library, the locked
packages, and some packages of this project. It contains nothing else: no shell, no package manager, no pip, no file
with set-user-ID. The same inputs give the same files with the same modes, owners and times.

Standard library only, because it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

UNUSED_STANDARD_LIBRARY = (
    "__phello__", "config-*", "distutils", "doctest.py", "ensurepip", "idlelib", "lib2to3", "pydoc.py", "pydoc_data",
    "site-packages", "dist-packages",
    "sitecustomize.py", "sqlite3", "test", "tkinter", "turtle.py", "turtledemo", "unittest",
    "venv", "xmlrpc",
)  # fmt: skip
"""Modules that our programs never import: interpreters of source, drawing, installers, databases, and test code."""
UNUSED_EXTENSIONS = (
    "_tkinter*", "_test*", "_xxtestfuzz*", "_ctypes_test*", "xxlimited*", "readline*", "_curses*", "_dbm*", "_sqlite3*",
    "nis.*",
)  # fmt: skip
"""Further modules that would pull in libraries: databases, terminals, Kerberos."""
UNUSED_IN_PACKAGES = ("*/tests", "*/test", "*/testing", "bin", "boto3/examples", "*.pyi", "py.typed", "*/INSTALLER")
BOTOCORE_DATA = ("_retry.json", "endpoints.json", "partitions.json", "sdk-default-configuration.json")
"""Read for every service. Source: botocore's loaders, session and retries modules."""
EMPTY_FOLDERS = {"dev": 0o755, "proc": 0o755, "sys": 0o755, "run": 0o755, "tmp": 0o1777, "root": 0o700}
"""Mount points for an init process, and directories that programs expect."""
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n",
    "etc/group": "root:x:0:\nnonroot:x:65532:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
PACKAGES_FILE = "usr/share/kmstool/packages.tsv"
"""A list in the image: kind, name and version of everything in it, for auditors."""
MEASURED_MODE = {True: 0o755, False: 0o644}


def main() -> None:
    """Assemble what the command line asks for."""
    options = _parse_arguments()
    root = options.root
    site = root / Path(sysconfig.get_path("purelib")).relative_to("/")
    copied = [*_copy_interpreter(root), *_copy_standard_library(root)]
    _copy_packages(options.packages, site, services=options.service)
    _copy_own(options.own, site, commit=options.commit)
    if options.ca_file:
        shutil.copyfile(options.ca_file, site / "botocore" / "cacert.pem")
    for name, _, target in (entry.partition("=") for entry in options.program):
        _write_program(root, name, target)
    copied += _copy_shared_libraries(root)
    for name, mode in EMPTY_FOLDERS.items():
        (root / name).mkdir(mode=mode, exist_ok=True)
    for name, text in ACCOUNTS.items():
        _write(root / name, text)
    _write(root / PACKAGES_FILE, "".join(f"{line}\n" for line in sorted({*_debian_packages(copied), *_wheels(site)})))
    _compile(root)
    _normalise(root, time_s=options.time)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--root", type=Path, required=True, help="folder that becomes the root file system")
    parser.add_argument("--packages", type=Path, required=True, help="folder of locked packages, from pip --target")
    parser.add_argument("--own", action="append", type=Path, default=[], help="package of this project to include")
    parser.add_argument("--service", action="append", default=[], help="AWS service to keep botocore's data for")
    parser.add_argument("--program", action="append", default=[], help="NAME=MODULE:FUNCTION, installed in /usr/bin")
    parser.add_argument("--ca-file", help="PEM bundle to use instead of botocore's")
    parser.add_argument("--commit", default="", help="commit for --version to show")
    parser.add_argument("--time", type=int, required=True, help="time of every file, in seconds since the epoch")
    return parser.parse_args()


def _interpreter() -> Path:
    """Return the path of Python itself, not of a link to it, such as a virtual environment's."""
    return Path(os.path.realpath(sys.executable))


def _copy_interpreter(root: Path) -> Iterator[Path]:
    yield _copy(_interpreter(), root)


def _copy_standard_library(root: Path) -> Iterator[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    extensions = library / "lib-dynload"
    ignore_unused = shutil.ignore_patterns(*UNUSED_STANDARD_LIBRARY, "__pycache__")

    def ignore(folder: str, names: list[str]) -> set[str]:
        if Path(folder) == extensions:
            return shutil.ignore_patterns(*UNUSED_EXTENSIONS)(folder, names)
        return ignore_unused(folder, names) if Path(folder) == library else {"__pycache__"} & set(names)

    target = root / library.relative_to("/")
    shutil.copytree(library, target, ignore=ignore, symlinks=False)
    yield library / "os.py"
    yield extensions


def _copy_packages(packages: Path, site: Path, *, services: list[str]) -> None:
    """Copy what pip installed, without tests, launchers and the data of services that are not wanted."""
    shutil.copytree(packages, site, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for pattern in UNUSED_IN_PACKAGES:
        for path in sorted(site.rglob(pattern) if "/" not in pattern else site.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for data, kept in (
        (site / "botocore" / "data", {*BOTOCORE_DATA, *services}),
        (site / "boto3" / "data", set[str]()),
    ):
        for path in sorted(data.iterdir()):
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _copy_own(packages: Iterable[Path], site: Path, *, commit: str) -> None:
    for package in packages:
        shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("__pycache__", "py.typed"))
    if commit:
        _write(site / "vsock_wire" / "commit.txt", commit + "\n")


def _write_program(root: Path, name: str, target: str) -> None:
    """Write a launcher. Python runs isolated: no environment variable and no other folder can add code to it."""
    module, _, function = target.partition(":")
    path = root / "usr/bin" / name
    _write(
        path,
        f"#!{_interpreter()} -I\nfrom vsock_wire.cli.interruption import end_at_interrupts\n\nend_at_interrupts()\n"
        f"from {module} import {function}\n\n{function}()\n",
    )
    path.chmod(0o755)


def _copy_shared_libraries(root: Path) -> list[Path]:
    """Copy every library that an executable or library in ``root`` needs, under the name that the loader uses."""
    copied: list[Path] = []
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.read_bytes()[:4] != b"\x7fELF":
            continue
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
        missing = re.findall(r"^\s*(\S+) => not found", listed.stdout, re.MULTILINE)
        if missing:
            sys.exit(f"error: {path}: libraries not installed: {', '.join(missing)}")
        for library in re.findall(r"(?:=> |^\s*)(/\S+) \(0x", listed.stdout, re.MULTILINE):
            source = Path(library)
            if not library.startswith(f"{root}/") and not root.joinpath(library[1:]).exists():
                copied.append(_copy(source, root))
    return copied


def _copy(source: Path, root: Path) -> Path:
    """Copy one file to the same path under ``root``, following links; return its real path."""
    target = root / source.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)
    return source


def _debian_packages(paths: Iterable[Path]) -> Iterator[str]:
    """Yield kind, name and version of the packages that own ``paths``, except those that dpkg does not know."""
    for path in {form for copied in paths for form in (copied, copied.resolve())}:
        for form in (str(path), str(path).removeprefix("/usr")):
            owner = subprocess.run(["dpkg-query", "--search", form], capture_output=True, text=True, check=False)
            if owner.returncode == 0:
                names = owner.stdout.partition(": ")[0].split(", ")
                form_of_line = "debian\t${Package}\t${Version}\n"
                show = ["dpkg-query", "--show", "--showformat", form_of_line, *names]
                yield from subprocess.run(show, capture_output=True, text=True, check=True).stdout.splitlines()
                break


def _wheels(site: Path) -> Iterator[str]:
    for folder in site.glob("*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        yield f"wheel\t{name}\t{version}"


def _compile(root: Path) -> None:
    """Write bytecode that Python never compares with its source: the image is measured, so it cannot change.

    The default kind of bytecode contains the time of the source, and Python would have to check each source file.
    """
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for folder in sorted({path.parent for path in root.rglob("*.py")}):
        shown = f"/{folder.relative_to(root)}"
        if not compileall.compile_dir(folder, maxlevels=0, ddir=shown, quiet=1, invalidation_mode=mode):
            sys.exit(f"error: {shown}: not valid Python source")


def _normalise(root: Path, *, time_s: int) -> None:
    """Give every file the same owner and time, and one of two modes."""
    for folder, _, names in os.walk(root, topdown=False):
        for path in (*(Path(folder) / name for name in names), Path(folder)):
            relative = str(path.relative_to(root))
            if not path.is_symlink():
                is_program = path.is_dir() or bool(path.stat().st_mode & 0o100 and path.suffix != ".py")
                path.chmod(EMPTY_FOLDERS.get(relative, MEASURED_MODE[is_program]))
            os.chown(path, 0, 0, follow_symlinks=False)
            os.utime(path, (time_s, time_s), follow_symlinks=False)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
