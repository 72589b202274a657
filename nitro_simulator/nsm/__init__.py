"""A Nitro Security Module in software, and the authority that signs its documents.

Internal: not part of the public API.
"""
