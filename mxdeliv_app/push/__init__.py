"""`chatmail-push`: serves IMAP METADATA to Dovecot, and sends push notifications to phones."""
