"""The programs of a chatmail relay besides `chatmail-milter`, `chatmailctl` and expiry, one folder for each.

`https`, `serving` and `stats` are shared by several programs. `chatmail_milter` has mail policy and database.
"""
