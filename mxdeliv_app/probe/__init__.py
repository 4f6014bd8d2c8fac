"""`chatmailctl probe`: what a peer answers to a real message, by each road, and where the time goes."""
