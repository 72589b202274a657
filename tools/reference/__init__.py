"""Generate the reference pages and the manual pages from the sources: commands, error texts, public names."""
