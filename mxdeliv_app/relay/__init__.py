"""`mxdeliv-relay`: sends mail to peers by HTTPS, or gives it back to Postfix for SMTP."""
