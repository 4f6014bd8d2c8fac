"""Services for Postfix's policy delegation protocol."""
