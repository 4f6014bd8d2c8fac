"""Checks where an incoming message is from: DNS queries, and DKIM verification beyond OpenDKIM's."""
