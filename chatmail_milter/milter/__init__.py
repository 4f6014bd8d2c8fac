"""`chatmail-milter`, the milter: Postfix asks it about every message, and it replies by the rules."""
