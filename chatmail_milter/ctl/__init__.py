"""`chatmailctl`, the operator's command. One file per noun; `main.py` lists them."""
