"""What an account is made of, by whom it may be made, and the links that apps take."""
