"""The way of a message on this host, from what the programs wrote to the journal."""
