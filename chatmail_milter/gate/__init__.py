"""The PGP-only gate: decides by its form alone whether a message may enter the queue.

A streaming parser without I/O, clock or configuration. It reads each octet once and buffers a bounded
amount, whatever the size of the message. The entry point is `gate.Gate`. Its layers, outermost first:
`header` (RFC 5322), `mime` (RFC 2045, 2046), `payload` and `armor` (RFC 9580, 6), `packets` and `contents`
(RFC 9580, 4 and 5). docs/gate.md specifies what passes and why. An `Observer` receives each layer's
events; `reasons` describes each refusal reason in a sentence.
"""
