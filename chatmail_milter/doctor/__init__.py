"""What is wrong with this relay, as values. One file per subject; a check looks and changes nothing.

`chatmailctl doctor` prints them. What a check needs of the host it is given, so that tests need no host.
"""
