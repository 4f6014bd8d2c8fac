"""What an operator is told of mail, peers, accounts, queue and disks: values, each computed in one place.

`chatmailctl`, the admin page and metrics render them. What is wrong, `doctor` says. One file per subject.
Times are UTC, sizes octets, latencies seconds; a share is from 0 to 1.
"""
