"""The enclave's server: its configuration, sessions, workers and diagnosis.

Internal: not part of the public API.
"""
