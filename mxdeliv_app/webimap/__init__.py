"""`chatmail-webimap`: mailbox and submission for web clients, by REST and WebSocket (docs/webimap.md)."""
