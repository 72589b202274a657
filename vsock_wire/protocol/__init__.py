"""The wire protocol: its vocabulary, its JSON, its messages and their fields (pure).

Nothing in this package does I/O, waits or reads a clock. Internal: not part of the public API.
"""
