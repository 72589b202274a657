"""The Nitro Security Module (NSM): its CBOR messages, its device, and entropy from it.

Internal: ``enclave_tool`` exports what applications need.
"""
