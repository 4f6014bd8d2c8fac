"""The migrations: `schema_N.py` migrates from schema N - 1 to N."""
