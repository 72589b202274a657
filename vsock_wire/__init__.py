"""What both ends of the vsock must agree on: addresses, sockets, frames, messages, errors and exit codes.

Standard library only, because the enclave image measures and trusts every line of it.
"""

__version__ = "0.1.0"
