"""Tests on one relay with an address literal as its domain."""
