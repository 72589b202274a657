"""The recipient key, its attestation documents, and the CMS messages that KMS encrypts to it.

Internal: ``enclave_tool`` exports what applications need.
"""
