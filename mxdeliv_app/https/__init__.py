"""HTTPS to hosts that strangers name: resolved once, judged, verified, kept open."""
