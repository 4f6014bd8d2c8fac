"""What is tried on one relay whose domain is an address literal."""
