"""The container of a whole relay: its image, built from its Containerfile, and a relay in it."""
