"""The demonstration: `make demo`, or `python -m tests.demo [--json]` as root on Debian."""
