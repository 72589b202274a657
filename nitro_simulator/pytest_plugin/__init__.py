"""What pytest loads at the start of every test run where the distribution is installed: the fixtures, if they can work.

Most of those runs have nothing to do with enclaves. So this module raises nothing, warns of nothing, and loads only
pytest and the standard library. Where a library that the fixtures need is not installed it defines none of them, and a
test that asks for one gets pytest's usual "fixture not found". ``pip install 'nitro-kmstool[sim]'`` has all libraries.

The entry point bears this module's own name, so that a project may also name the plugin, as it must where
PYTEST_DISABLE_PLUGIN_AUTOLOAD is set. Under any other name pytest would refuse to load it a second time.
"""

from __future__ import annotations

import importlib.util

LIBRARIES = ("boto3", "botocore", "cbor2", "cryptography", "pyasn1", "urllib3")
"""What the fixtures import, from outside the project."""


def is_installed(library: str) -> bool:
    """Return whether a top-level module can be found; it is not loaded."""
    try:
        return importlib.util.find_spec(library) is not None
    except Exception:  # noqa: BLE001 - a stand-in in sys.modules and an import hook of the project may raise anything
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
