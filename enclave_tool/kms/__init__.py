"""Attested calls of AWS KMS through the parent's proxy, with TLS ending in the enclave.

Applications use the boto3 client of ``client``. The server keeps a ``regional`` for each region (``regions``) and calls
it with a client's credentials (``caller``). Both go through ``transport``, sign by ``clock_skew``, and share what
attestation changes in a call (``attested_operations``). Internal: ``enclave_tool`` exports what applications need.
"""
