"""An HTTPS client for hosts that others choose: checks their addresses, verifies TLS, keeps connections."""
