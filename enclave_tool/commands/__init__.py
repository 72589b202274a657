"""The programs ``kmstool-enclave`` and ``kmstool-enclave-cli``: one module each, and the options that they share.

No other package of enclave_tool knows about command lines. Internal: not part of the public API.
"""
