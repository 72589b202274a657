"""The recipient key, its attestation documents, and the CMS that KMS encrypts to it.

Internal: ``enclave_tool`` exports what applications need.
"""
