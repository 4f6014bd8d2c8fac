"""What may pass: the PGP-only gate, the rules around it, and what a relay remembers.

Imports nothing from `mxdeliv_app`; that package may import this one.
"""
