"""A relay on disk, to be brought back on another host: store, keys, configuration and mailboxes."""
