"""`POST /mxdeliv`: the wire format, the receiver, and the injection of messages into Postfix."""
