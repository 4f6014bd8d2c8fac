"""`POST /mxdeliv`: the format, what is received, and its way into Postfix."""
