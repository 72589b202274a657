"""The pytest plugin, which pytest loads in every test run if the distribution is installed: fixtures, if they can work.

Most of those runs have nothing to do with enclaves. So this module raises nothing, warns about nothing, and loads only
pytest and the standard library. If a library that the fixtures need is missing, it defines none of them, and a test
that asks for one gets pytest's usual "fixture not found". ``pip install 'nitro-kmstool[sim]'`` installs all libraries.

The entry point has the same name as this module, so that a project can also name the plugin, as it must if
PYTEST_DISABLE_PLUGIN_AUTOLOAD is set. Under any other name pytest would refuse to load it a second time.
"""

from __future__ import annotations

import importlib.util

LIBRARIES = ("boto3", "botocore", "cbor2", "cryptography", "pyasn1", "urllib3")
"""What the fixtures import from outside the project."""


def is_installed(library: str) -> bool:
    """Return whether a top-level module can be found, without loading it."""
    try:
        return importlib.util.find_spec(library) is not None
    except Exception:  # noqa: BLE001 - stand-ins in sys.modules and import hooks may raise anything
        return False


if all(map(is_installed, LIBRARIES)):
    from nitro_simulator.pytest_plugin.fixtures import (
        kmstool_client,
        kmstool_enclave_client,
        kmstool_endpoint_url,
        kmstool_key_id,
        kmstool_sim,
    )

    __all__ = ["kmstool_client", "kmstool_enclave_client", "kmstool_endpoint_url", "kmstool_key_id", "kmstool_sim"]
