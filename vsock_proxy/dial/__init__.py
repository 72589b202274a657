"""The way to a destination: its addresses, and the race to connect to one of them."""
