"""The Nitro Security Module: its CBOR, its device, and entropy from it.

Internal: not part of the public API.
"""
