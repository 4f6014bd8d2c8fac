"""Where an incoming message is from, as far as the milter finds out itself: DNS, and DKIM after OpenDKIM."""
