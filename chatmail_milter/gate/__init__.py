"""The PGP-only rule: what a message must look like to enter the queue, on every road.

Pure code over a stream. It opens nothing, reads no clock and no configuration, keeps a bounded amount of
a message however large that is, and looks at each octet once. `gate.Gate` is given the message. Behind it,
from the outside in: `header` (RFC 5322), `mime` (RFC 2045, 2046), `payload` and `armor` (RFC 9580, 6),
`packets` and `contents` (RFC 9580, 4 and 5). docs/gate.md says what passes and why. An `observer`
may watch them at work; `reasons` says in words what the answers mean.
"""
