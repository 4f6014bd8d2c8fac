"""The mail policy of a chatmail relay: the PGP-only gate, the rules around it, the database, the CLI.

Imports nothing from `mxdeliv_app`; that package may import this one.
"""
