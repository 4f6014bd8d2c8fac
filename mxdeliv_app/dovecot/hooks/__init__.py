"""`chatmail-hooks`: the HTTP service for Dovecot's Lua."""
