"""The client of an enclave: requests with credentials, retries, batches, and a pool of connections."""
