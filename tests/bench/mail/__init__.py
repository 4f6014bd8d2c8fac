"""What the benches with a real Postfix are made of: its instance, the programs beside it, the senders."""
