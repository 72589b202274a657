from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from instance_tool.configuration.config_file import ConfigFile
from instance_tool.configuration.enclave_choice import GivenEnclave, choose_enclave
from vsock_wire.errors import InputError
from vsock_wire.net.address import Address, TcpAddress, UnixAddress, VsockAddress

PATH = Path("/etc/config.toml")


def choose(
    given: GivenEnclave = GivenEnclave(),  # noqa: B008 - immutable
    environ: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
) -> Address:
    return choose_enclave(
        given, environ or {}, lambda: None if config is None else ConfigFile(PATH, config), port=5_000
    )


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("16", VsockAddress(16, 5_000)),
        ("vsock://16", VsockAddress(16, 5_000)),
        ("vsock://16:3000", VsockAddress(16, 3_000)),
        ("unix:/run/kms", UnixAddress("/run/kms")),
        ("tcp://localhost:3000", TcpAddress("localhost", 3_000)),
    ],
)
def test_enclave_has_these_forms_wherever_it_is_given(text: str, address: Address) -> None:
    assert choose(GivenEnclave(enclave=text)) == address
    assert choose(environ={"KMSTOOL_ENCLAVE": text}) == address
    assert choose(config={"enclave": text}) == address


def test_options_win_over_the_environment_and_that_over_the_file() -> None:
    environ, config = {"KMSTOOL_ENCLAVE": "17"}, {"cid": 18}
    assert choose(GivenEnclave(cid=16), environ, config) == VsockAddress(16, 5_000)
    assert choose(environ=environ, config=config) == VsockAddress(17, 5_000)
    assert choose(environ={"KMSTOOL_CID": "19", "KMSTOOL_ENCLAVE": ""}, config=config) == VsockAddress(19, 5_000)
    assert choose(config=config) == VsockAddress(18, 5_000)
    assert choose(config={"enclave": 18}) == VsockAddress(18, 5_000)


def test_two_variables_may_agree_and_must_not_differ() -> None:
    assert choose(environ={"KMSTOOL_CID": "16", "KMSTOOL_ENCLAVE": "vsock://16"}) == VsockAddress(16, 5_000)
    with pytest.raises(InputError, match=r"^KMSTOOL_ENCLAVE and KMSTOOL_CID name different enclaves"):
        choose(environ={"KMSTOOL_CID": "17", "KMSTOOL_ENCLAVE": "vsock://16"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (GivenEnclave(16, "unix:/x"), "--enclave and --cid cannot be used together"),
        (GivenEnclave(cid=16, enclave_name="x"), "--cid and --enclave-name cannot be used together"),
        (GivenEnclave(enclave="16", enclave_name="x"), "--enclave and --enclave-name cannot be used together"),
    ],
)
def test_two_options_are_refused(given: GivenEnclave, words: str) -> None:
    with pytest.raises(InputError, match=rf"^{words}$"):
        choose(given)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"KMSTOOL_ENCLAVE": "nonsense"}, 'KMSTOOL_ENCLAVE: address: expected .*, got "nonsense"'),
        ({"KMSTOOL_ENCLAVE": "-1"}, "KMSTOOL_ENCLAVE: address: expected"),
        ({"KMSTOOL_ENCLAVE": "9999999999"}, "KMSTOOL_ENCLAVE: CID: expected a number from 0 to"),
        ({"KMSTOOL_CID": "vsock://16"}, 'KMSTOOL_CID: expected a number, got "vsock://16"'),
        ({"KMSTOOL_CID": "x"}, "KMSTOOL_CID: expected a number"),
    ],
)
def test_malformed_variable_is_named(environ: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=rf"^{words}"):
        choose(environ=environ)
