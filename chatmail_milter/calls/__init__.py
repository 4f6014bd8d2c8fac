"""Calls: the secrets of the TURN server, and the credentials that apps get for it."""
