"""`chatmail-hooks`: the questions of Dovecot's Lua."""
