"""What is counted of peers, from our own attempts and from others' lines in the journal."""
