"""Accounts: credentials, the rules and limits of registration, and account links for apps."""
