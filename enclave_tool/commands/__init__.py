"""The programs ``kmstool-enclave`` and ``kmstool-enclave-cli``: a module for each, and what their options share.

The only package of this side that knows about command lines. Internal: not part of the public API.
"""
