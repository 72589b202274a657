"""Attested calls of AWS KMS through the parent's proxy, with TLS ending in the enclave.

Internal: not part of the public API.
"""
