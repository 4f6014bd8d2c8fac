"""The operator's pages, `/admin`: what the relay does, how well, what waits, and what can be done about it.

Rendered on the server; without JavaScript all of it works. Each page is JSON too, at the same resource. It
shows the values of `chatmail_milter.figures` and `doctor`. What it changes, `chatmailctl` does: the pages ask
a program of root's for one of a closed list of orders (`orders.py`), and have no right to do it themselves.
"""
