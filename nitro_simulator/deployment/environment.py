"""Runs the proxy and the enclave's server around a simulated account, and tells programs where to find them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from instance_tool.configuration.enclave_choice import ENCLAVE_VARIABLE
from nitro_simulator.account import SimulatedAccount
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes


@contextlib.contextmanager
def running_deployment(account: SimulatedAccount) -> Iterator[dict[str, str]]:
    """Start vsock-proxy and kmstool-enclave, and yield an environment that leads programs to all services.

    Raises:
        SimulatorError: one of them did not start; the text includes its output.
    """
    with contextlib.ExitStack() as stack:
        for name, arguments, address in (
            ("proxy", commands.proxy_command(account), commands.proxy_address(account)),
            ("enclave", commands.enclave_command(account), commands.enclave_address(account)),
        ):
            log_file = account.directory / f"{name}.log"
            stack.enter_context(processes.running(arguments, listens_on=address, log_file=log_file))
        yield processes.clean_environment(deployment_variables(account))


def deployment_variables(account: SimulatedAccount) -> dict[str, str]:
    """Return the variables that point kmstool-instance, AWS's command line and any SDK to the simulator.

    Those that begin with KMSTOOL_SIM_ are for programs under test, which pass the values on to ``enclave_tool`` or to
    options of the commands; nothing in the project reads them.
    """
    own_programs = str(Path(processes.tool_path("kmstool-instance")).parent)
    return {
        **account.imds_environment,
        "AWS_CA_BUNDLE": str(account.ca_file),
        "AWS_DEFAULT_REGION": account.region,
        "AWS_ENDPOINT_URL_KMS": account.kms_endpoint_url,
        "AWS_REGION": account.region,
        ENCLAVE_VARIABLE: str(commands.enclave_address(account)),
        "KMSTOOL_SIM_CA_FILE": str(account.ca_file),
        "KMSTOOL_SIM_KEY_ID": account.key.arn,
        "KMSTOOL_SIM_NSM": str(account.enclave.nsm_address),
        "KMSTOOL_SIM_PROXY": str(commands.proxy_address(account)),
        "KMSTOOL_SIM_ROOT": str(account.attestation_root_file),
        "PATH": os.pathsep.join([own_programs, os.environ.get("PATH", os.defpath)]),
    }
