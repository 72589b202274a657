"""What both ends of the vsock share: addresses, sockets, frames, messages, errors and exit codes.

Standard library only, because the enclave image measures and trusts every line of it. Internal: the public packages
export the parts that callers need.

PYTEST_DONT_REWRITE: without this word, pytest warns where a program imports this package before it starts pytest.
"""

__version__ = "0.1.0"
