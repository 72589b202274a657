"""The proxy's configuration: allowlist, routes and destinations."""
