"""`chatmail-push`: IMAP METADATA for Dovecot, and notices to phones that are not connected."""
