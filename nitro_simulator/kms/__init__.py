"""A KMS that verifies attestation documents and enforces key policies.

Internal: not part of the public API.
"""
