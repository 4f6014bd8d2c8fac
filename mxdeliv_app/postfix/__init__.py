"""What Postfix asks by its policy delegation protocol."""
