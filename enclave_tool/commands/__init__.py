"""The command-line programs of the enclave.

Internal: not part of the public API.
"""
