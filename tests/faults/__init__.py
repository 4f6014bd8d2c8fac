"""Two relays while something breaks: hundreds of messages cross, and afterwards each one is looked for.

`python -m tests.faults` is `make test-faults`; a few of the causes are in `tests/e2e/test_faults.py` too.
"""
