"""What the user has set up besides the command line: the configuration file, and which enclave to use.

Internal: not part of the public API.
"""
