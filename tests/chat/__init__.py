"""Driving two relays as their users and peers do, and reading afterwards what really happened.

Real Delta Chat cores (`core`, `person`), raw SMTP and IMAP (`smtp`, `imap`) with real PGP/MIME messages
(`pgp`), and the evidence: the hosts' journals (`journal`), a message's way through them (`hops`), and
`chatmailctl` (`relay`). The demo and the end-to-end tests are written with these; nothing here asserts.
"""
