"""Traces messages on this host, from the lines that programs wrote to the journal."""
