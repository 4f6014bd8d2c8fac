"""Services for Dovecot: hooks for its Lua, wake-up of idling clients."""
