"""Messages over a socket: a connection, and a server with a thread for each connection.

Internal: not part of the public API.
"""
