"""The project's tools running as processes around a simulated account (internal)."""
