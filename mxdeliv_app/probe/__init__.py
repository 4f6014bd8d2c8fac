"""`chatmailctl probe`: sends a real message to a peer by each road, and measures each step."""
