"""Backup and restore of a relay: store, keys, configuration and mailboxes."""
