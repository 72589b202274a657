"""How much of a secret leaves the enclave, and the program that a secret can be piped to.

Internal: not part of the public API.
"""
