"""The proxy on the parent instance: forwards an enclave's vsock connections to destinations on an allowlist.

It moves bytes without looking at them: TLS ends inside the enclave. Its interface is the program ``vsock-proxy``. The
package is internal: it has no public API, and any name in it may change. Importing it loads nothing else.

- ``console_scripts``, ``cli``, ``check`` and ``options``: the command line; ``settings``: the values it sets.
- ``config``: the allowlist and the routes from the config file, which a reload reads again.
- ``daemon``: the process: startup, signals, systemd, metrics, and how many connections the descriptor limit allows.
- ``server`` and ``listener``: routes and the sockets they listen on. ``server`` explains the path of a connection.
- ``handshake``: HTTP CONNECT and the PROXY protocol, spoken before bytes are relayed.
- ``dial``: reaching a destination: DNS, and connecting to one of its addresses.
- ``relay``: open connections: limits, both directions of bytes, totals and log lines.
- ``errors`` and ``logs``: base classes and texts of errors; log lines as JSON.

PYTEST_DONT_REWRITE: without this word, pytest warns where a program imports this package before it starts pytest.
"""
