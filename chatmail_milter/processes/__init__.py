"""One program in several processes: the fork, its end, and what the processes share."""
