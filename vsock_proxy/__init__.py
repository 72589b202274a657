"""The proxy on the parent instance: connections from an enclave's vsock to the destinations that an allowlist names.

It moves bytes and does not look at them: TLS ends inside the enclave. Its interface is the program ``vsock-proxy``. The
package is internal: it has no public API, and any name in it may change. Importing it loads nothing else.

- ``console_scripts``, ``cli``, ``check`` and ``options``: the command line; ``settings``: what it decides.
- ``config``: what the config file decides, which is the allowlist and the routes; a reload reads it again.
- ``daemon``: the process: start, signals, systemd, metrics, and how many connections its descriptors allow.
- ``server`` and ``listener``: routes and the sockets they listen on. ``server`` says how a connection passes through.
- ``dial``: the way to a destination: DNS, and connecting to one of its addresses.
- ``relay``: connections under way: limits, both directions of the bytes, totals and log lines.
- ``errors`` and ``logs``: base classes and texts of errors; log lines as JSON.

PYTEST_DONT_REWRITE: without this word, pytest warns where a program imports this package before it starts pytest.
"""
