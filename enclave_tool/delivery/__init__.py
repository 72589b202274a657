"""What may leave the enclave of a secret, and the program that a secret can be piped to.

Internal: not part of the public API.
"""
