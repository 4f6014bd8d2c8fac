"""The operator's pages below `/admin`: traffic, peers, queue, accounts, settings, and orders.

Rendered on the server; they work without JavaScript. Each page is also available as JSON, at the same
resource. The values are those of `chatmail_milter.figures` and `doctor`. The pages change nothing themselves:
they send one of a closed list of orders (`orders.py`) to a program that runs `chatmailctl` as root.
"""
