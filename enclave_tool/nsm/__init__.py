"""The Nitro Security Module: its CBOR, its device, and entropy from it.

Internal: ``enclave_tool`` exports what applications need.
"""
