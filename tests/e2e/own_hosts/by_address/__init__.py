"""Tests on one relay whose domain is an address literal."""
