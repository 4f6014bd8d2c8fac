"""Statistics of peers, from our own attempts and from the journal."""
