"""What ``--explain`` shows: the events of one call, and how they are presented."""
