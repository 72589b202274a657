"""The parent instance's side: credentials, the client of the enclave, and what checks an attestation document.

PYTEST_DONT_REWRITE: without this word, pytest warns where a program imports this package before it starts pytest.
"""
