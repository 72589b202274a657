"""The recipient key, its attestation documents, and the CMS that KMS encrypts to it.

Internal: not part of the public API.
"""
