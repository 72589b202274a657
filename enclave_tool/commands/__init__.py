"""The command-line programs of the enclave."""
