"""Mail policy besides the gate: pure functions from facts to a `Verdict`. No I/O, clock or database."""
