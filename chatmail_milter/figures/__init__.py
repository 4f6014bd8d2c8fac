"""Figures about mail, peers, accounts, queue and disks, each computed in one place. One file per subject.

`chatmailctl`, the admin pages and the metrics render these values. Times are UTC, sizes octets, latencies
seconds; a share is from 0 to 1. `doctor` finds what is wrong.
"""
