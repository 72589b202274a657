"""Which enclave to ask: the one of the command line, the environment, the configuration file, or the only one here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from instance_tool.configuration.config_file import ConfigFile
from vsock_wire.errors import InputError, quoted
from vsock_wire.net.address import Address, parse_address, vsock_address

ENCLAVE_VARIABLE = "KMSTOOL_ENCLAVE"
"""Environment variable with the enclave's CID or address, used if no option gives one."""
CID_VARIABLE = "KMSTOOL_CID"
"""Environment variable with the enclave's CID, used if no option gives one."""
_CID = re.compile(r"(?:vsock://)?([0-9]{1,10})", re.ASCII)


class GivenEnclave(NamedTuple):
    """What one place says about the enclave: at most one of these.

    Attributes:
        cid: its CID.
        enclave: its CID or address, as text.
        enclave_name: its name or ID, as nitro-cli shows it.
    """

    cid: int | None = None
    enclave: str | None = None
    enclave_name: str | None = None


def choose_enclave(
    given: GivenEnclave,
    environ: Mapping[str, str],
    read_config: Callable[[], ConfigFile | None],
    *,
    port: int,
) -> Address:
    """Return the address of the enclave to ask.

    Args:
        given: what the options give; else the environment decides, then the configuration file, then nitro-cli.
        environ: the environment variables.
        read_config: reads the configuration file, if it is needed.
        port: the port for a CID without a port.

    Raises:
        InputError: one place gives two enclaves, or a malformed one; or no place gives one, and nitro-cli does not show
            exactly one.
    """
    if any(value is not None for value in given):
        _refuse_two({"--enclave": given.enclave, "--cid": given.cid, "--enclave-name": given.enclave_name})
        return _address(given, port, subject="")
    if (address := _from_environment(environ, port)) is not None:
        return address
    config = read_config()
    configured = GivenEnclave() if config is None else _configured(config)
    return _address(configured, port, subject=f"{config.path}: " if config else "")


def _address(given: GivenEnclave, port: int, *, subject: str) -> Address:
    if given.enclave is not None:
        return _parse(given.enclave, port, subject=subject)
    if given.cid is not None:
        return vsock_address(given.cid, port)
    from instance_tool.configuration.nitro_cli import find_enclave  # noqa: PLC0415 - rarely needed, and slow to load

    return vsock_address(find_enclave(given.enclave_name), port)


def _from_environment(environ: Mapping[str, str], port: int) -> Address | None:
    enclave, cid = environ.get(ENCLAVE_VARIABLE), environ.get(CID_VARIABLE)
    if cid and not re.fullmatch(r"[0-9]{1,10}", cid, re.ASCII):
        raise InputError(f"{CID_VARIABLE}: expected a number, got {quoted(cid)}")
    addresses = [
        _parse(text, port, subject=f"{variable}: ")
        for variable, text in ((ENCLAVE_VARIABLE, enclave), (CID_VARIABLE, cid))
        if text
    ]
    if len(set(addresses)) > 1:
        raise InputError(f"{ENCLAVE_VARIABLE} and {CID_VARIABLE} name different enclaves: unset one of them")
    return addresses[0] if addresses else None


def _parse(text: str, port: int, *, subject: str) -> Address:
    """Return the address in a text such as ``16``, ``vsock://16`` or any whole address."""
    try:
        if match := _CID.fullmatch(text):
            return vsock_address(int(match[1]), port)
        return parse_address(text)
    except InputError as error:
        raise InputError(f"{subject}{error}", hint=error.hint) from None


def _configured(config: ConfigFile) -> GivenEnclave:
    cid, enclave, name = (config.values.get(key) for key in ("cid", "enclave", "enclave-name"))
    _refuse_two({"cid": cid, "enclave": enclave, "enclave-name": name}, path=config.path)
    if cid is not None and (not isinstance(cid, int) or isinstance(cid, bool)):
        raise InputError(f"{config.path}: cid: expected a number")
    return GivenEnclave(cid, _text(config, "enclave"), _text(config, "enclave-name"))


def _text(config: ConfigFile, key: str) -> str | None:
    value = config.values.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{config.path}: {key}: expected text")
    return value


def _refuse_two(given: Mapping[str, Any], *, path: Path | None = None) -> None:
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise InputError(f"{path}: " * (path is not None) + f"{names[0]} and {names[1]} cannot be used together")
