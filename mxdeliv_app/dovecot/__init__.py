"""What Dovecot asks and tells."""
