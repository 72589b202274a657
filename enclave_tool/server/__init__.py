"""The server inside the enclave: ``app`` builds it from a ``config``; ``workers`` run a ``session`` per connection.

Internal: not part of the public API.
"""
