"""End-to-end tests: real Delta Chat, real hosts, deployed by the playbook. `pytest -m lab`, as root."""
