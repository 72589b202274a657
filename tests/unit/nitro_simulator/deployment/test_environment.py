from __future__ import annotations

import os
from pathlib import Path

from nitro_simulator.account import SimulatedAccount
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment.environment import deployment_variables
from nitro_simulator.deployment.processes import tool_path


def test_variables_point_to_the_services_of_this_account(account: SimulatedAccount) -> None:
    variables = deployment_variables(account)
    assert variables["AWS_ENDPOINT_URL_KMS"] == f"https://localhost:{account.kms_server.port}"
    assert variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] == f"http://127.0.0.1:{account.imds_server.port}"
    assert variables["AWS_REGION"] == variables["AWS_DEFAULT_REGION"] == account.region
    assert variables["KMSTOOL_ENCLAVE"] == str(commands.enclave_address(account))
    assert variables["KMSTOOL_SIM_NSM"] == str(account.enclave.nsm_address)
    assert variables["KMSTOOL_SIM_PROXY"] == str(commands.proxy_address(account))
    assert variables["KMSTOOL_SIM_KEY_ID"] == account.key.arn
    for name in ("AWS_CA_BUNDLE", "KMSTOOL_SIM_CA_FILE", "KMSTOOL_SIM_ROOT"):
        assert Path(variables[name]).read_bytes().startswith(b"-----BEGIN CERTIFICATE-----"), name


def test_programs_of_this_installation_come_first_in_path(account: SimulatedAccount) -> None:
    first, *others = deployment_variables(account)["PATH"].split(os.pathsep)
    assert first == str(Path(tool_path("kmstool-instance")).parent)
    assert others == os.environ["PATH"].split(os.pathsep)


def test_variables_contain_no_credentials(account: SimulatedAccount) -> None:
    names = {name for name in deployment_variables(account) if "KEY" in name or "TOKEN" in name or "SECRET" in name}
    assert names == {"KMSTOOL_SIM_KEY_ID"}
