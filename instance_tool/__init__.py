"""The parent instance's side: credentials, the client of the enclave, and what checks an attestation document."""
