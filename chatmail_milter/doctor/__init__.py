"""Checks of this relay, one file per subject, with findings as values. Checks change nothing.

`chatmailctl doctor` prints the findings. Checks get the host's data as arguments, so that tests need no host.
"""
