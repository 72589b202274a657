"""Messages over a socket: a connection, and a server with one thread per connection.

Internal: not part of the public API.
"""
