"""The enclave's server: its configuration, sessions, workers and diagnosis."""
