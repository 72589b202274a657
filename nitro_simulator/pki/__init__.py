"""Throwaway certificate authorities: certificates, and the authority for TLS (internal)."""
