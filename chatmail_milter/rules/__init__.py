"""The rules around the gate: pure functions from facts to a `Verdict`. No sockets, no clock, no store."""
