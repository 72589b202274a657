"""The files of a container image, as nitro-cli finds them: archives, layers, and an engine's own changes. Internal."""
