"""`chatmail-milter`: Postfix asks it about every message."""
