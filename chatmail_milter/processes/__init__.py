"""Programs of several processes: forking, termination, shared memory, locks, rate limits."""
