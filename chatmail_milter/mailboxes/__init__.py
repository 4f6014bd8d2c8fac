"""Users' mail, accessed by doveadm: expiry, full mailboxes, removal of an account's mail."""
