"""Attested calls to AWS KMS through the parent's proxy, over TLS that ends in the enclave.

Applications use the boto3 client from ``client``. The server keeps a ``regional`` for each region (``regions``) and
calls it with a client's credentials (``caller``). Both connect with ``transport``, sign with ``clock_skew``, and use
``attested_operations`` for what attestation changes in a call. Internal: ``enclave_tool`` exports what applications
need.
"""
