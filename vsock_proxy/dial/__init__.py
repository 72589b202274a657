"""The way to a destination: its addresses, and connecting to one of them."""
