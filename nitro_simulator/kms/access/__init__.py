"""Who may do what: policies of four kinds, and grants (internal)."""
