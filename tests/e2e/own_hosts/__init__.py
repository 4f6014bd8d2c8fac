"""Tests that boot a host for themselves, while others use the relays `a` and `b`: the fixture is `hosts`."""
